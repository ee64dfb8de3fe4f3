"""The Markovian Thinker's 24K run, by hand."""

from __future__ import annotations

import pytest

from agentgym.config import build


def test_the_papers_numbers(read_recipe):
    recipe = read_recipe("delethink_24k")
    chunks = build("env", recipe["env"]).chunks
    # 8192, then a query, 100 tokens of the head and 3996 of the tail leave 4096 for each of four more chunks.
    assert chunks.total == recipe["max_completion_tokens"] == 8192 + 4 * 4096
    query, first = list(range(50)), list(range(1000, 1000 + 8192))
    second = chunks.carry_over(query + first, 50)
    assert second == tuple(query + first[:100] + first[-3996:])
    assert 50 + 8192 - len(second) == 4096
    assert (recipe["group_size"], recipe["batch_size"], recipe["minibatches"]) == (8, 128, 2)
    assert (recipe["lr"], recipe["temperature"]) == (1e-6, 0.6)


async def test_advantages(stage, episode):
    # Rewards 1, 0: mean 1/2, sample variance 1/2: A = +-(1/2) / sqrt(1/2) = +-0.7071.
    batch = await stage("delethink_24k", "rl").score([episode(1.0), episode(0.0)])
    assert [s.advantage for s in batch] == pytest.approx([0.5**0.5, -(0.5**0.5)], rel=1e-5)


def test_loss(stage):
    # A = 1, two tokens: ratio 1.5 is cut at 1.26, ratio 0.5 stays: (-1.26 - 0.5) / 2. A = -1: ratio 3 is free.
    value = stage("delethink_24k", "rl").loss([1.0, -1.0], [[1.5, 0.5], [3.0]])
    assert value == pytest.approx((-0.88 + 3.0) / 2)
