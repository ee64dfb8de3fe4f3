"""Memory-R1 by GRPO, by hand."""

from __future__ import annotations

from math import log, sqrt

import pytest

from agentgym.run import resolve_settings


async def test_advantages(stage, episode):
    # Exact match 1, 1, 0, 0: mean 1/2, sample variance 4 (1/2)^2 / 3 = 1/3.
    batch = await stage("memory_r1", "rl").score([episode(r) for r in (1.0, 1.0, 0.0, 0.0)])
    assert [s.advantage for s in batch] == pytest.approx([s * sqrt(3) / 2 for s in (1, 1, -1, -1)], rel=1e-5)


def test_loss(stage):
    # A = 1: ratio 1.5 is cut at 1.2. A = -1: ratio 0.5 is held at 0.8: (-1.2 + 0.8) / 2. KL, k3 = exp(-d) - 1 + d:
    # d = ln 2 gives ln 2 - 1/2, d = 0 gives 0.
    value = stage("memory_r1", "rl").loss([1, -1], [[1.5], [0.5]], [[log(2)], [0.0]])
    assert value == pytest.approx(-0.2 + 0.001 * (log(2) - 0.5) / 2)


@pytest.mark.parametrize("recipe", ["memory-r1", "memory-r1-ppo"])
@pytest.mark.parametrize(("trained", "frozen"), [("manager", "answerer"), ("answerer", "manager")])
def test_either_agent_can_be_trained_beside_the_other(recipe, trained, frozen):
    words = {"stages": {"rl": {"agents": [trained]}}, "partners": {frozen: "nano-memory"}, "model": "nano-memory"}
    settings = resolve_settings({"recipe": recipe, **words}, [])
    assert (settings.stages[0].agents, settings.partners) == ([trained], {frozen: "nano-memory"})
    assert (settings.batch_size, settings.lr, settings.max_completion_tokens) == (128, 1e-6, 2048)
