"""ARPO's rollouts: the law by which they branch, their budget, and what a branch shares with its parent."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from agentgym.config import build
from agentgym.models.chat import Chat
from agentgym.rollout.entropy_branching import EntropyBranching
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Group, Outcome, Task

from .scripted import LENGTH, VOCAB, Script, Turns

FIRST = 2.0
"""Entropy of the tokens after a prompt, in nats."""
Z_99 = 2.576


async def grow(
    strategy: Any, engine: Any, env: Any, chat: Chat, sizes: list[int], seed: int = 0, max_error_frac: float = 0.0
) -> list[Group]:
    """A group of each of the sizes."""
    groups = []
    async with Services() as services:
        manager = Manager(env, engine, chat, services, Limits(10**6), Guard(max_error_frac=max_error_frac))
        for i, size in enumerate(sizes):
            task = Task("t", "Go", "")
            groups += await manager.run(strategy, [(f"s{i}-0", task)], seed + i, size)
    return groups


def rising(rise: float) -> Callable[[str, int], float]:
    """Entropies of tokens such that dH is `rise` after every tool."""
    after = FIRST + rise * math.log(VOCAB) / LENGTH
    return lambda session, depth: FIRST if depth == 0 else after


def within(seen: int, of: int, chance: float) -> bool:
    """Whether so many are in the 99 % interval of a binomial."""
    return abs(seen - of * chance) <= Z_99 * math.sqrt(of * chance * (1 - chance)) + 0.5


@pytest.mark.parametrize("rise", [-1.5, -0.5, 0.0, 0.75, 1.25])
async def test_a_branch_is_as_likely_as_the_paper_says(chat: Chat, rise: float) -> None:
    """5,000 decisions in all, at the first answer of a tool already."""
    strategy = EntropyBranching(initial_rollouts=50, branch_probability=0.4, entropy_weight=0.3)
    engine = Script(rising(rise))
    await grow(strategy, engine, Turns(2), chat, [100] * 20)
    forks = sum("+" in name for name in engine.sessions)
    assert within(forks, 1000, min(max(0.4 + 0.3 * rise, 0.0), 1.0))


@pytest.mark.parametrize("rise", [-1.5, -0.5, 0.0, 0.75, 1.25])
async def test_a_branch_is_as_likely_as_the_released_code_makes_it(chat: Chat, rise: float) -> None:
    """The first decision is a plain coin whatever follows; the second goes by the turn that called the tool."""
    strategy = EntropyBranching(initial_rollouts=50, branch_probability=0.4, entropy_weight=0.3, compat="released")
    engine = Script(rising(rise))
    await grow(strategy, engine, Turns(3), chat, [300] * 20)
    first, second = (
        sum(re.fullmatch(rf".*/\d+\+{depth}\.0", name) is not None for name in engine.sessions) for depth in (1, 2)
    )
    assert within(first, 1000, 0.4)
    assert within(second, 1000, min(max(0.4 + 0.3 * rise, 0.0), 1.0))


async def test_the_released_codes_beginnings(chat: Chat) -> None:
    """A branch begins with its own first turn, and a trajectory as its number did in the first step of all."""
    strategy = EntropyBranching(initial_rollouts=1, branch_probability=1.0, entropy_weight=1e6, compat="released")
    engine = Script(lambda session, depth: 2.0 if depth == 0 else 1.0)
    await grow(strategy, engine, Turns(3), chat, [4])
    forks = sorted(name for name in engine.sessions if "+" in name)
    assert forks == ["s0-0/0+1.0", "s0-0/0+1.0+2.0"]
    engine = Script(lambda session, depth: 1.0)
    await grow(strategy, engine, Turns(3), chat, [4], seed=1)
    assert not any("+" in name for name in engine.sessions), "less than the 2.0 of the step before"


async def test_below_the_threshold_nothing_branches(chat: Chat) -> None:
    for threshold, some in ((0.39, True), (0.41, False)):
        engine = Script()
        strategy = EntropyBranching(branch_probability=0.4, threshold=threshold)
        await grow(strategy, engine, Turns(4), chat, [16])
        assert any("+" in name for name in engine.sessions) == some


@pytest.mark.parametrize("compat", ["paper", "released"])
async def test_every_group_has_exactly_its_trajectories(chat: Chat, compat: str) -> None:
    rng = random.Random(0)
    for trial in range(60):
        size, initial, beam = rng.randint(1, 20), rng.randint(1, 20), rng.randint(2, 5)
        chance = rng.choice([0.0, 0.1, 0.5, 1.0])
        strategy = build(
            "rollout",
            {
                "name": "entropy_branching",
                "initial_rollouts": initial,
                "beam_size": beam,
                "branch_probability": chance,
                "compat": compat,
            },
        )
        engine = Script(lambda session, depth: random.Random(f"{session} {depth}").uniform(0, 4))
        [group] = await grow(strategy, engine, Turns(random_turns=6), chat, [size], seed=trial)
        paths = [tuple(i for turn in path for i in turn.action.ids) for path in group.trajectories()]
        assert len(set(paths)) == len(paths) == size
        forks = size - sum(turn.parent is None for turn in group.turns)
        assert 0 <= forks <= max(size - initial, 0)


async def test_all_beams_go_on_from_the_same_answer(chat: Chat) -> None:
    strategy = EntropyBranching(initial_rollouts=1, beam_size=4, branch_probability=1.0, entropy_weight=0.0)
    engine = Script()
    [group] = await grow(strategy, engine, Turns(2), chat, [4])
    assert [turn.parent for turn in group.turns] == [None, 0, 0, 0, 0]
    contexts = {turn.context.ids for turn in group.turns[1:]}
    assert len(contexts) == 1


async def test_the_initial_entropy_is_the_roots(chat: Chat) -> None:
    """A branch's own first turn, which is as certain as can be, does not count as its beginning."""

    def entropy(session: str, depth: int) -> float:
        return {0: 2.0, 1: 2.0 if "+" not in session else 0.0}.get(depth, 2.0 - 0.01)

    strategy = EntropyBranching(initial_rollouts=1, branch_probability=1.0, entropy_weight=1e6)
    engine = Script(entropy)
    [group] = await grow(strategy, engine, Turns(4), chat, [8])
    assert [name for name in engine.sessions if name.count("+") > 1] == []
    assert sorted(name for name in engine.sessions if "+" in name) == ["s0-0/0+1.0"]
    assert len(group.leaves()) == 8


async def test_late_trajectories_start_all_at_once_when_none_can_branch(chat: Chat) -> None:
    engine = Script(say=lambda session, depth: "word")
    strategy = EntropyBranching(initial_rollouts=2, branch_probability=0.0, entropy_weight=0.0)
    [group] = await grow(strategy, engine, Turns(3), chat, [7])
    assert len([turn for turn in group.turns if turn.parent is None]) == 7
    assert list(engine.sessions) == [f"s0-0/{i}" for i in range(7)]


async def test_balanced_rollouts_start_where_the_doubt_is(chat: Chat) -> None:
    """N = M * sigmoid(balance * (H of the first turn - mean H of the later ones)), with H = 20 h / ln V."""
    for rise, expected in ((1.0, round(16 / (1 + math.exp(1.0)))), (-1.0, round(16 / (1 + math.exp(-1.0))))):
        engine = Script(rising(rise))
        strategy = EntropyBranching(initial_rollouts="balanced", branch_probability=1.0, entropy_weight=0.0)
        [group] = await grow(strategy, engine, Turns(6), chat, [16])
        assert sum(turn.parent is None for turn in group.turns) == expected
        assert next(iter(engine.sessions)) == "s0-0/0"
        assert not any(name.startswith("s0-0/0+") for name in engine.sessions), "the first one only looks"


async def test_a_first_trajectory_that_fails_says_nothing_and_half_start_at_the_prompt(chat: Chat) -> None:
    engine = Script(say=lambda session, depth: "fire" if session == "s0-0/0" else "word")
    strategy = EntropyBranching(initial_rollouts="balanced", branch_probability=1.0, entropy_weight=0.0)
    [group] = await grow(strategy, engine, Turns(6), chat, [16], max_error_frac=1.0)
    assert sum(turn.parent is None for turn in group.turns) == 8
    assert len(group.leaves()) == 16
    assert [group.outcome(leaf).is_valid for leaf in group.leaves()].count(False) == 1


async def test_a_root_that_is_tried_again_branches_beside_what_branched_off_before(chat: Chat) -> None:
    """Nothing that was sampled for the first try's branches is lost, and no two trajectories are one."""
    tries = 0

    def say(session: str, depth: int) -> str:
        nonlocal tries
        if session == "s0-0/0" and depth % 3 == 2:  # at its third turn, each time
            tries += 1
            return "fire"
        return "word"

    engine = Script(say=say)
    strategy = EntropyBranching(initial_rollouts=1, branch_probability=1.0, entropy_weight=0.0)
    [group] = await grow(strategy, engine, Turns(4), chat, [6], max_error_frac=1.0)
    assert tries == 2
    assert len(group.leaves()) == 6
    assert {"s0-0/0+1.0", "s0-0/0+1.1"} < set(engine.sessions)
    assert [group.outcome(leaf) for leaf in group.leaves()].count(Outcome.DONE) == 5


async def test_a_penalty_keeps_one_path_from_taking_all_forks(chat: Chat) -> None:
    """Certain to branch, then after one branching never: at every second answer of a path."""
    engine = Script()
    strategy = EntropyBranching(initial_rollouts=1, branch_probability=1.0, entropy_weight=0.0, fork_penalty=1.0)
    await grow(strategy, engine, Turns(5), chat, [9])
    depths = {int(depth) for depth in re.findall(r"\+(\d)\.", " ".join(engine.sessions))}
    assert depths == {1, 3}


async def test_reproducible_to_the_turn(chat: Chat) -> None:
    strategy = EntropyBranching(initial_rollouts=3)
    shapes = []
    for _ in range(2):
        engine = Script(lambda session, depth: random.Random(f"{session} {depth}").uniform(0, 4))
        groups = await grow(strategy, engine, Turns(random_turns=5), chat, [12] * 4)
        shapes.append([[turn.parent for turn in group.turns] for group in groups])
    assert shapes[0] == shapes[1]
