"""Groups and batches with known numbers in them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import EnvConfig
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.rollout.demonstrations import Demonstrations
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.strategy import RolloutStrategy
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.trainers.base import Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.sft import Sft
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def tokens(n: int) -> Tokens:
    return Tokens(tuple(range(n)))


def make_episode(
    group: Group,
    actions: Sequence[int] = (1,),
    contexts: Sequence[int] | None = None,
    outcome: Outcome | None = Outcome.DONE,
    texts: Sequence[str] = (),
    rewards: Sequence[float] = (),
    info: dict[str, Any] | None = None,
    **signals: float,
) -> Scored:
    """Adds one trajectory: lengths in tokens, one entry per turn; `contexts` begins with the prompt's."""
    for i, length in enumerate(actions):
        context = tokens(contexts[i] if contexts else 1)
        turn = Turn(len(group.turns) - 1 if i else None, context, tokens(length))
        turn.text = texts[i] if texts else ""
        turn.reward = rewards[i] if rewards else 0.0
        group.turns.append(turn)
    last = group.turns[-1]
    last.outcome, last.info, last.signals = outcome, info or {}, dict(signals)
    return Scored(group, len(group.turns) - 1)


def make_rewarded(group_id: str, rewards: Sequence[float], prompt: str = "p") -> list[Scored]:
    """A group's trajectories with rewards already shaped."""
    group = Group(group_id, Task(prompt, prompt, "a"))
    batch = [make_episode(group) for _ in rewards]
    for scored, reward in zip(batch, rewards, strict=True):
        scored.reward = reward
    return batch


@pytest.fixture
def group() -> Group:
    return Group("g", Task("task-1", "p", "a"))


@pytest.fixture
def episode() -> Callable[..., Scored]:
    return make_episode


@pytest.fixture
def rewarded() -> Callable[..., list[Scored]]:
    return make_rewarded


@dataclass
class Policy:
    """A nano that was taught for a few seconds to call the interpreter and to copy what it says."""

    env: EnvConfig
    model: Any
    chat: Chat
    engine: Any
    learner: Learner

    async def play(
        self,
        strategy: RolloutStrategy,
        n: int,
        *,
        seed: int = 0,
        group_size: int = 1,
        engine: Any = None,
        temperature: float = 1.0,
        deterministic: bool = False,
    ) -> list[Group]:
        """Groups of the same `n` training tasks."""
        tasks = self.env.source().draw(n, random.Random(0))
        async with Services() as services:
            limits = Limits(96, temperature=temperature)
            guard = Guard(max_error_frac=0.0, deterministic=deterministic)
            manager = Manager(self.env, engine or self.engine, self.chat, services, limits, guard)
            return await manager.run(strategy, [(f"g{i}", t) for i, t in enumerate(tasks)], seed, group_size)


@pytest.fixture(scope="session")
def policy() -> Policy:
    model, tokenizer = nano.model(0), nano.tokenizer()
    tasks = {"name": "arith", "digits": 3, "easy_fraction": 0.0}
    env = build("env", {"name": "retool", "prompt": "plain", "tasks": tasks})
    engine = build("engine", {"name": "torch", "device": "cpu"}).start(model, tokenizer)
    taught = Policy(env, model, Chat(tokenizer), engine, Learner(model))
    groups = asyncio.run(taught.play(Demonstrations(), 8))
    batch = [Scored(group, leaf) for group in groups for leaf in group.leaves()]
    weight = 1 / sum(scored.length for scored in batch)
    for _ in range(16):
        taught.learner.update(batch, [weight] * len(batch), [Sft()], lr=3e-3, microbatch_tokens=4096)
    asyncio.run(engine.load(model, 1))
    return taught
