"""Branches of an episode whose state is in an interpreter, in files and in a database: each has its own world."""

from __future__ import annotations

import ast
import itertools
import logging
import os
import random
import re
from dataclasses import dataclass
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import Env, StepResult
from agentgym.errors import ConfigError
from agentgym.models.chat import Chat
from agentgym.rollout.entropy_branching import EntropyBranching
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.tree_search import TreeSearch
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Group, Task

from .scripted import Script

SETUP = """
import random, sqlite3
marks = []
db = sqlite3.connect('marks.db')
db.execute('create table marks (number)')
def mark(number):
    marks.append(number)
    with open('marks', 'a') as file: file.write(f'{number} ')
    with db: db.execute('insert into marks values (?)', (number,))
    rows = [row[0] for row in db.execute('select number from marks')]
    print([marks, [int(word) for word in open('marks').read().split()], rows, random.random()])
"""
EVERY = EntropyBranching(initial_rollouts=2, beam_size=3, branch_probability=1.0, entropy_weight=0.0)


async def branch(services: Services, chat: Chat, say: Any, size: int) -> Group:
    env = build("env", {"name": "retool", "prompt": "plain"})
    manager = Manager(env, Script(say=say), chat, services, Limits(10**6), Guard(max_error_frac=0.0))
    [group] = await manager.run(EVERY, [("s1-0", Task("t", "Go", "1"))], 0, size)
    return group


def marker() -> Any:
    """Says: prepare, then three programs that leave a number of their own, then an answer."""
    numbers = itertools.count()

    def say(session: str, depth: int) -> str:
        if depth == 4:
            return r"\boxed{1}"
        program = SETUP if depth == 0 else f"mark({next(numbers)})"
        return f"<code>\n{program}\n</code>"

    return say


async def test_each_path_has_its_own_world(services: Services, chat: Chat) -> None:
    group = await branch(services, chat, marker(), 16)
    assert len(group.leaves()) == 16
    assert sum(turn.parent is None for turn in group.turns) == 2
    draws: dict[int, set[float]] = {}
    for path in group.trajectories():
        numbers = [int(found) for turn in path for found in re.findall(r"^mark\((\d+)\)", turn.text, re.MULTILINE)]
        for i, turn in enumerate(path[2:]):
            shown = turn.observation[turn.observation.index("[[") : turn.observation.rindex("]") + 1]
            variables, files, rows, drawn = ast.literal_eval(shown)
            assert variables == files == rows == numbers[: i + 1]
            draws.setdefault(i, set()).add(drawn)
        assert path[-1].info["tool_calls"] == 4
    assert [len(drawn) for drawn in draws.values()] == [1, 1, 1], (
        "one stream of random numbers, wherever it goes on"
    )


async def test_a_fork_is_its_parent_until_they_act(services: Services) -> None:
    env = build("env", {"name": "retool", "prompt": "plain"}).make(services)
    await env.reset(seed=0, options={"task": Task("t", "Go", "1")})
    await env.step(f"<code>\n{SETUP}\n</code>")
    await env.step("<code>\nmark(1)\n</code>")
    twin: Env = await env.fork(seed=3)
    before = env.state_key()
    assert twin.state_key() == before
    assert (await twin.step("<code>\nmark(2)\n</code>")).observation.count("[1, 2]") == 3
    assert env.state_key() == before != twin.state_key()
    again: Env = await env.fork()
    assert again.state_key() == before
    assert (await env.step("<code>\nmark(3)\n</code>")).observation.count("[1, 3]") == 3
    for each in (env, twin, again):
        await each.close()


async def test_a_state_that_cannot_be_copied_is_not_branched_from(
    services: Services, chat: Chat, caplog: Any
) -> None:
    """No branch shares the thread, and the group is whole all the same."""

    def say(session: str, depth: int) -> str:
        threads = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
        return rf"<code>\n{threads}\nprint('up')\n</code>".replace(r"\n", "\n") if depth == 0 else r"\boxed{1}"

    with caplog.at_level(logging.WARNING, "agentgym"):
        group = await branch(services, chat, say, 5)
    assert [turn.parent is None for turn in group.turns].count(True) == 5
    reasons = [turn.info["fork_refused"] for turn in group.turns if "fork_refused" in turn.info]
    assert len(reasons) == 2
    assert all("thread" in reason for reason in reasons)
    assert "no fork" in caplog.text


async def test_no_token_of_a_shared_past_is_computed_again(engine: Any, chat: Chat, moody: Any) -> None:
    """Though a trajectory that branched at its last turn has ended when its branches begin."""
    async with Services() as services:
        manager = Manager(moody(turns=2), engine, chat, services, Limits(400), Guard(max_error_frac=0.0))
        [group] = await manager.run(EVERY, [("s1-0", Task("t", "Hello", ""))], 0, 8)
    assert len(group.leaves()) == 8
    prompt = len(group.turns[0].context)
    along = sum(len(turn.context) + len(turn.action) for path in group.trajectories() for turn in path)
    assert engine.prefilled <= prompt + sum(len(turn.context) for turn in group.turns if turn.parent is not None)
    assert engine.prefilled < along / 2
    assert engine.slots_in_use == 0


@pytest.mark.parametrize(("strategy", "size"), [(EVERY, 8), (TreeSearch(width=3, stop_when_solved=False), 2)])
async def test_paths_have_the_ids_and_logprobs_of_one_sequence(
    engine: Any, chat: Chat, moody: Any, strategy: Any, size: int
) -> None:
    """As the engine itself scores them, from a cache that was shared."""
    async with Services() as services:
        manager = Manager(moody(turns=4), engine, chat, services, Limits(400), Guard(max_error_frac=0.0))
        [group] = await manager.run(strategy, [("s1-0", Task("t", "Hello", ""))], 0, size)
    assert len(group.leaves()) >= 8
    for path in group.trajectories():
        flat = [i for turn in path for part in (turn.context, turn.action) for i in part.ids]
        scored = await engine.score(flat)
        at = 0
        for turn in path:
            at += len(turn.context)
            span = slice(at, at := at + len(turn.action))
            assert turn.action.logprobs == pytest.approx(scored.logprobs[span], abs=1e-4)
            assert turn.action.entropy == pytest.approx(scored.entropy[span], abs=1e-4)


@dataclass(frozen=True)
class Forgetful:
    """Config of an environment that shows something else every time it begins."""

    def make(self, services: Services) -> Env:
        return ForgetfulEnv(self, services)

    def source(self) -> Any:
        raise NotImplementedError


class ForgetfulEnv(Env):
    async def start(self, task: Any, rng: random.Random) -> str:
        return os.urandom(8).hex()

    async def act(self, action: str) -> StepResult:
        return StepResult("on", 0.0, False, False, {})


async def test_a_replay_that_goes_otherwise_is_no_fork(services: Services) -> None:
    env = Forgetful().make(services)
    await env.reset(seed=0, options={"task": Task("t", "Go", "1")})
    await env.step("word")
    with pytest.raises(ConfigError, match=r"ForgetfulEnv cannot be forked by replaying"):
        await env.fork()
    await env.close()
