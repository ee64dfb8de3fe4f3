"""Invented databases in the environment: demonstrations solve them by what the database says, in few tokens."""

from __future__ import annotations

import random
from typing import Any, get_args

import pytest

from agentgym.config import build
from agentgym.database import Dialect
from agentgym.envs.ledgers.questions import Level
from agentgym.models.nano import tokenizer
from agentgym.services import Services
from agentgym.types import Task


async def play(services: Services, task: Task, **fields: Any) -> tuple[bool, str]:
    """Success of a demonstration, and all that was said and shown."""
    env = build("env", {"name": "sql", "prompt": "plain", **fields}).make(services)
    messages, _ = await env.reset(seed=0, options={"task": task})
    script = env.demonstrate(random.Random(0))
    text, action = [messages[0]["content"]], next(script)
    while True:
        result = await env.step(action)
        text += [action, str(result.observation)]
        if result.terminated or result.truncated:
            await env.close()
            return result.info["success"], "".join(text)
        action = script.send(result.observation)


def drawn(n: int, **fields: Any) -> list[Task]:
    source = build("tasks", {"name": "ledgers", "questions": 2, **fields})
    tasks: list[Task] = source.draw(n, random.Random(1), "all")
    return tasks


@pytest.mark.parametrize("dialect", get_args(Dialect))
async def test_demonstrations_solve_every_level(dialect: Dialect) -> None:
    async with Services() as services:
        for level in get_args(Level):
            for task in drawn(2, levels=[level], dialect=dialect):
                success, text = await play(services, task)
                assert success, text


async def test_queries_are_answers_too() -> None:
    async with Services() as services:
        for task in drawn(4, answers_with="query", levels=["top", "join"]):
            assert (await play(services, task))[0]


async def test_they_live_by_what_the_database_says() -> None:
    async with Services() as services:
        for mode in ("off", "swapped"):
            right = [(await play(services, task, tool_output=mode))[0] for task in drawn(24)]
            assert sum(right) <= 2, mode


async def test_an_episode_is_short_for_the_policy_that_learns_it() -> None:
    vocabulary = tokenizer("nano-sql")
    async with Services() as services:
        lengths = [len(vocabulary.encode((await play(services, task))[1])) for task in drawn(14)]
    assert max(lengths) < 160
