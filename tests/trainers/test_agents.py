"""Several speakers: whose turns are learned from, and who plays whom."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentgym.config import build
from agentgym.errors import ConfigError
from agentgym.models import nano
from agentgym.models.chat import Chat
from agentgym.opening import open_policy
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Manager
from agentgym.rollout.walk import Limits
from agentgym.run import resolve_settings
from agentgym.services import Services
from agentgym.trainers.base import Packing, Scored
from agentgym.trainers.plays import Plays
from agentgym.trainers.settings import Settings, Stage
from agentgym.types import Group, Task, Tokens, Turn

from .test_forgotten_gradient import UNCLIPPED, alone, forgetting
from .test_packed_gradient import FORESTS, assert_same, forest, packed, uneven

FORGETFUL = f"{Path(__file__).parents[1] / 'rollout' / 'forgetful.py'}:Forgetful"


def spoken(batch: list[Scored], frozen: Sequence[str] = ()) -> list[Scored]:
    """Every other turn of a path is b's."""
    for scored in batch:
        for depth, turn in enumerate(scored.turns):
            turn.agent = "ab"[depth % 2]
        scored.frozen = frozenset(frozen)
    return batch


@pytest.mark.parametrize("packing", ["tree", "flat"])
@pytest.mark.parametrize("frozen", ["a", "b"])
@pytest.mark.parametrize("shape", ["chains", "bushy"])
def test_a_frozen_agents_turns_are_context_and_nothing_else(shape: str, frozen: str, packing: Packing) -> None:
    batch = spoken(forgetting(forest(FORESTS[shape])), frozen)
    found, metrics = packed(batch, uneven(batch), packing=packing, losses=[UNCLIPPED])
    said = [len(turn.action) for scored in batch for turn in scored.turns if turn.agent != frozen]
    assert metrics["trained_tokens"] == sum(said) == sum(scored.length for scored in batch)
    for scored in batch:  # nothing to learn from a turn that is multiplied by 0
        scored.turn_advantages = [
            0.0 if turn.agent == frozen else advantage
            for turn, advantage in zip(scored.turns, scored.turn_advantages or (), strict=True)
        ]
    assert_same(found, alone(batch, uneven(batch)))


@pytest.mark.parametrize(
    ("agents", "partners", "frozen"),
    [((), (), ""), (("a",), (), "b"), ((), ("a",), "a"), (("a",), ("b",), "b"), (("a", "b"), (), "")],
)
async def test_a_stage_says_whose_turns_are_learned_from(
    agents: Sequence[str], partners: Sequence[str], frozen: str
) -> None:
    batch = spoken(forest(FORESTS["chains"]))
    settings = Settings(partners=dict.fromkeys(partners, "nano"))
    plays = Plays(
        Stage("rl", losses=["sft"], agents=list(agents)), settings, NoManager(), build("tasks", "streams")
    )  # type: ignore[arg-type]
    scored = await plays.score(list({s.group.id: s.group for s in batch}.values()))
    assert {each.frozen for each in scored} == {frozenset(frozen)}


class NoManager:
    """Its services are all that is asked for."""

    services = Services()


async def test_a_partner_says_what_its_agent_says() -> None:
    policy, partner, tokenizer = nano.model(0), nano.model(1), nano.tokenizer()
    engines = [build("engine", {"name": "torch", "device": "cpu"}).start(m, tokenizer) for m in (policy, partner)]
    env = build("env", {"name": FORGETFUL, "forget": [], "anew": [0, 2]})
    tasks = [(f"g{i}", task) for i, task in enumerate(env.source().draw(3, random.Random(0)))]
    async with Services() as services:
        partners = {"speaker 1": engines[1]}
        manager = Manager(env, engines[0], Chat(tokenizer), services, Limits(400), partners=partners)
        groups = await manager.run(Independent(), tasks, 0, 2)
    checked = dict.fromkeys(("speaker 0", "speaker 1", "speaker 3"), 0)
    for group in groups:
        for index, turn in enumerate(group.turns):
            said = group.seen(index) + turn.action.ids
            for number, engine in enumerate(engines):
                logprobs = (await engine.score(said)).logprobs or ()
                own = (turn.agent == "speaker 1") == (number == 1)
                near = logprobs[-len(turn.action) :] == pytest.approx(turn.action.logprobs, abs=1e-3)
                assert near == own, (turn.agent, number)
            checked[turn.agent] += 1
    assert min(checked.values()) >= 6
    for engine in engines:
        assert not engine._slots.sessions, "a session was kept"
        await engine.close()


def settings(**words: Any) -> Settings:
    return resolve_settings({"env": "memory", **words}, [])


@pytest.mark.parametrize("words", [{"partners": {"manger": "nano"}}, {"stages": {"rl": {"agents": ["manger"]}}}])
def test_an_agent_that_does_not_exist_is_an_error(words: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Memory has no agent 'manger': did you mean 'manager'"):
        settings(**words)


async def test_a_partner_with_other_tokens_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"partners\.answerer=nano: its tokens are not those of model=nano-memory"
    ):
        async with open_policy(settings(partners={"answerer": "nano"})):
            pass


async def test_groups_are_told_apart_by_their_own_agents() -> None:
    one, two = forest([[None, 0]]), spoken(forest([[None, 0]], seed=1))
    groups: list[Group] = [one[0].group, two[0].group]
    groups[1].id = "other"
    stage = Stage("rl", losses=["sft"], agents=["policy", "a"])
    scored = await Plays(stage, Settings(), NoManager(), build("tasks", "streams")).score(groups)  # type: ignore[arg-type]
    assert [sorted(each.frozen) for each in scored] == [[], ["b"]]


@pytest.mark.parametrize("packing", ["tree", "flat"])
def test_what_nobody_learns_from_or_sees_later_is_not_computed(packing: Packing) -> None:
    group = Group("g", Task("t", "p", "a"))
    for number, agent in enumerate("aab"):  # each begins anew
        ids, action = tuple(range(10 * number, 10 * number + 5)), Tokens((7, 8), (-1.0, -1.0))
        group.turns.append(
            Turn(number - 1 if number else None, Tokens(ids), action, agent=agent, recalled=() if number else None)
        )
    for frozen, computed in (("", 3 * 7), ("a", 7), ("b", 2 * 7)):
        batch = [Scored(group, 2, advantage=1.0, frozen=frozenset(frozen))]
        assert packed(batch, [1.0], packing=packing, losses=[UNCLIPPED])[1]["computed_tokens"] == computed
