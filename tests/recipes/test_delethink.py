"""Delethink for the built-in policy, by hand: imitation of thoughts that slip, then RL on the answer."""

from __future__ import annotations

import random
from math import log

import pytest

from agentgym.config import build
from agentgym.envs.tasks.sums import think
from agentgym.models import nano
from agentgym.models.chat import Chat


def test_cold_start_is_the_mean_negative_log_likelihood_of_all_tokens(stage):
    # Old logprob -2, so ratio 1 is -2 and ratio 3 is -2 + ln 3: (2 + 2 + 2 + 2 - ln 3) / 4.
    assert stage("delethink", "cold_start").loss([0, 0], [[1.0, 1.0], [1.0, 3.0]]) == pytest.approx(2 - log(3) / 4)


async def test_every_chunk_of_a_thought_has_its_advantage(stage, episode):
    # Rewards 1, 0, 0, 0: mean 1/4; sample variance ((3/4)^2 + 3 (1/4)^2) / 3 = 1/4; A = 1.5, -0.5, -0.5, -0.5.
    thoughts = [episode(1.0, actions=[48, 32, 5], observations=[0, 0]), *[episode(0.0) for _ in range(3)]]
    batch = await stage("delethink", "rl").score(thoughts)
    assert [s.advantage for s in batch] == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)
    assert [advantage for _, advantage in batch[0].by_turn] == pytest.approx([1.5] * 3, rel=1e-5)


def test_loss(stage):
    # A = 2, three tokens: ratio 2 is cut at 1.26: -2.52, 1 and 1: -2 each; their sum over the length 3: -6.52 / 3.
    # A = -1, one token: ratio 0.5 is held at 0.8: 0.8. The mean over thoughts.
    value = stage("delethink", "rl").loss([2.0, -1.0], [[2.0, 1.0, 1.0], [0.5]])
    assert value == pytest.approx((-6.52 / 3 + 0.8) / 2)


def test_a_thought_is_more_than_four_windows_long_and_fits_into_the_chunks(read_recipe):
    recipe = read_recipe("delethink")
    env = build("env", recipe["env"])
    vocabulary = nano.tokenizer()
    prompts, thoughts = [], []
    for task in env.source().draw(32, random.Random(0)):
        thought, answer = think(task.info, random.Random(0), 0.0)
        thoughts.append(len(vocabulary.encode(f"{thought}\\boxed{{{answer}}}")) + 1)
        prompts.append(len(Chat(vocabulary).open([{"role": "user", "content": task.prompt}])))
    assert 4 * env.chunk <= min(thoughts)
    assert max(thoughts) <= min(env.chunks.total, recipe["max_completion_tokens"])
    assert max(prompts) < env.chunk
