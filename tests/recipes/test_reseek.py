"""ReSeek, by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from agentgym.trainers.describe import describe

GOOD, BAD = {"useful": True}, {"useful": False}
YES, NO = {"judged": "yes"}, {"judged": "no"}


def searches(episode, *infos, success):
    """A turn for each info."""
    return episode(actions=[1] * len(infos), observations=[1] * (len(infos) - 1), infos=infos, success=success)


def first(episode):
    """Shown one gold passage of four, then the others, then nothing new: it rejects, accepts, and rejects."""
    return searches(
        episode,
        {"recall": 0.25},
        {**NO, **GOOD, "recall": 1.0},
        {**YES, **GOOD, "recall": 1.0},
        {**NO, **BAD, "recall": 1.0},
        success=True,
    )


async def test_rewards_and_advantages(stage, episode):
    # First: -0.3 + 0.3 + 0.3 = 0.3, accepted 0.75 of the gold, right: 1 + 0.3 + 0.1 * 0.75 = 1.375.
    # Second: accepts what is useless, -0.6, and of the gold nothing; wrong: -0.6. Third: judges nothing, right: 1.
    # Mean 1.775 / 3; what each is away from it, times 3: 2.35, -3.575, 1.225.
    second = searches(episode, {"recall": 0.0}, {**YES, **BAD, "recall": 0.0}, success=False)
    third = searches(episode, {"recall": 1.0}, {"recall": 1.0}, success=True)
    batch = await stage("reseek", "rl").score([first(episode), second, third])
    assert [s.reward for s in batch] == pytest.approx([1.375, -0.6, 1.0])
    std = sqrt((2.35**2 + 3.575**2 + 1.225**2) / 9 / 2)
    assert [s.advantage for s in batch] == pytest.approx([d / 3 / std for d in (2.35, -3.575, 1.225)], rel=1e-5)


async def test_what_judgements_were_worth_is_logged(stage, episode):
    # Useful results: one accepted, one not. Useless ones: rejected in the first episode, accepted in the second.
    second = searches(episode, {}, {**YES, **BAD}, success=False)
    batch = await stage("reseek", "rl").score([first(episode), second, episode()])
    seen = describe([batch[0].group], batch)
    assert seen["signal/judge_sensitivity"] == pytest.approx(1 / 2)
    assert seen["signal/judge_specificity"] == pytest.approx((1 + 0) / 2)
    assert seen["signal/judge_accuracy"] == pytest.approx((2 / 3 + 0) / 2)
    assert seen["signal/success"] == pytest.approx(1 / 3)
