"""UR2, by hand."""

from __future__ import annotations

from math import sqrt

import pytest

ANSWER, BROKEN = "<answer>answer</answer>", "answer"
SEARCH = "<search>what</search>"
HARD, EASY = {"level": "hard"}, {"level": "easy"}


def plays(episode, calls, text=ANSWER, fallbacks=0, answer="answer"):
    """So many searches of a token, and an answer of three."""
    infos = [{}] * calls + [{"malformed_calls": fallbacks, "answer": answer}]
    return episode(
        actions=[*[1] * calls, 3], observations=[1] * calls, texts=[*[SEARCH] * calls, text], infos=infos
    )


async def rewards(stage, name, episodes, info):
    return [s.reward for s in await stage("ur2", name).score(episodes, info=info)]


async def test_stage_1_on_hard_tasks(stage, episode):
    # The form 1; one call 3, more 4; a correction -0.5. A malformed response -1, and so is not to search, each.
    episodes = [
        plays(episode, 1),
        plays(episode, 2),
        plays(episode, 3, fallbacks=2),
        plays(episode, 1, BROKEN),
        plays(episode, 0),
        plays(episode, 0, BROKEN),
    ]
    assert await rewards(stage, "search", episodes, HARD) == pytest.approx([4.0, 5.0, 4.0, 2.0, -1.0, -2.0])


async def test_stage_1_does_not_read_the_answer(stage, episode):
    right, wrong = plays(episode, 1), plays(episode, 1, answer="no")
    assert len(set(await rewards(stage, "search", [right, wrong], HARD))) == 1


async def test_a_search_costs_an_easy_task_the_point_for_the_form(stage, episode):
    episodes = [plays(episode, 0), plays(episode, 1), plays(episode, 0, BROKEN), plays(episode, 2, fallbacks=2)]
    assert await rewards(stage, "search", episodes, EASY) == pytest.approx([1.0, 0.0, 0.0, 0.0])
    # The answer counts 2.
    assert await rewards(stage, "answer", episodes, EASY) == pytest.approx([3.0, 2.0, 2.0, 2.0])


async def test_stage_2_on_hard_tasks(stage, episode):
    # F1 of "an answer perhaps": 2 * 1 / (2 + 1) = 2/3.
    episodes = [
        plays(episode, 1),
        plays(episode, 0),
        plays(episode, 2, answer="an answer perhaps", fallbacks=1),
        plays(episode, 1, BROKEN, answer="no"),
    ]
    assert await rewards(stage, "answer", episodes, HARD) == pytest.approx([3.0, 3.0, 4 / 3 + 0.5, 0.0])


async def test_advantages_are_reinforce_with_baseline(stage, episode):
    # Rewards 4, 5 and -1, -2: less their group's mean -0.5, 0.5 and 0.5, -0.5, in 4, 5, 3, 3 tokens. Over tokens:
    # mean (-2 + 2.5 + 1.5 - 1.5) / 15 = 1/30, mean square 1/4, variance 1/4 - 1/900 = 224/900.
    one, other = [plays(episode, 1), plays(episode, 2)], [plays(episode, 0), plays(episode, 0, BROKEN)]
    batch = await stage("ur2", "search").score(one, other, info=HARD)
    std = sqrt(224 / 900)
    wanted = [(centred - 1 / 30) / std for centred in (-0.5, 0.5, 0.5, -0.5)]
    assert [s.advantage for s in batch] == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["search", "answer"])
def test_loss(stage, name):
    # A = 1: ratio 1.5 is cut at 1.2, 1 stays. A = -1: ratio 4 has no bound: (-2.2 + 4) / 3. No KL.
    assert stage("ur2", name).loss([1, -1], [[1.5, 1.0], [4.0]]) == pytest.approx(1.8 / 3)
