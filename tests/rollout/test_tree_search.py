"""DeepSearch's rollouts: where they go on, what nodes are worth, what is found, and what is left behind."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agentgym.config import build
from agentgym.errors import AgentgymError, ConfigError
from agentgym.models.chat import Chat
from agentgym.rollout.independent import Independent
from agentgym.rollout.manager import Guard, Manager
from agentgym.rollout.tree_search import TreeSearch
from agentgym.rollout.walk import Limits
from agentgym.services import Services
from agentgym.types import Group, Outcome, Task, Tokens

from .planted import Place, Tree, Words, forest, read
from .scripted import LENGTH, Script


async def search(
    strategy: Any, trees: Sequence[Tree], chat: Chat, size: int, env: Words | None = None, **guard: Any
) -> tuple[list[Group], Manager]:
    """A group for each tree; nothing may be left open."""
    return await play(strategy, forest(*trees), chat, len(trees), size, env, **guard)


async def play(
    strategy: Any, engine: Script, chat: Chat, count: int, size: int, env: Words | None = None, **guard: Any
) -> tuple[list[Group], Manager]:
    env, guard = env or Words(), {"max_error_frac": 1.0, "retries": 0, **guard}
    async with Services() as services:
        manager = Manager(env, engine, chat, services, Limits(10**6), Guard(**guard))
        try:
            groups = await manager.run(strategy, [(f"t{i}", Task("t", "Go", "")) for i in range(count)], 0, size)
        finally:
            assert env.open == set()
            assert manager.parked == manager.running == {}
    return groups, manager


def random_tree(seed: int) -> Tree:
    """Four of ten turns end the episode, a third of those in success; none goes deeper than five."""

    def draw(what: str, place: Place) -> float:
        return random.Random(f"{seed} {what} {place}").random()

    def say(place: Place) -> str:
        chance = draw("end", place) * (0.4 if len(place) > 4 else 1.0)
        return "on" if chance > 0.4 else "right" if chance < 0.13 else "wrong"

    return Tree(say, lambda place: 0.2 * draw("entropy", place), lambda place: -draw("logprob", place))


class Reference:
    """The search, from its formulas: values are summed anew from all outcomes whenever one is asked for."""

    def __init__(self, tree: Tree, width: int) -> None:
        self.tree, self.width = tree, width
        self.frontier: list[Place] = [()]
        self.order: list[Place] = []
        self.outcomes: dict[Place, int] = {}
        self.beside: set[Place] = set()

    def below(self, place: Place) -> list[Place]:
        return [end for end in self.outcomes if end[: len(place)] == place]

    def q(self, place: Place) -> float:
        """The sum of the right ends' weights; where there is none, minus that of the wrong ones."""
        weights: dict[int, list[float]] = {1: [], -1: []}
        for end in self.below(place):
            weights[self.outcomes[end]].append(max(len(place) / len(end), 0.1))
        return math.fsum(weights[1]) if weights[1] else -math.fsum(weights[-1])

    def mean(self, place: Place) -> float:
        return self.q(place) / (1 + len(self.below(place)))

    def priority(self, place: Place) -> float:
        if place == ():
            return 0.0
        depth = 0.01 * math.sqrt(len(place) / 64)
        return 0.4 * math.tanh(self.mean(place[:-1])) + 0.4 * self.tree.entropy(place) + depth

    def uct(self, place: Place) -> float:
        n, above = 1 + len(self.below(place)), 1 + len(self.below(place[:-1]))
        return self.mean(place) + 2 * math.sqrt(math.log(above) / n)

    def alive(self, place: Place) -> bool:
        return any(node[: len(place)] == place for node in self.frontier)

    def surprise(self, end: Place) -> float:
        return -sum(self.tree.logprob(end[: i + 1]) for i in range(len(end))) / len(end)

    def search(self, descents: int, selection: str, stop: bool) -> None:
        for _ in range(descents):
            if not self.frontier:
                return
            node = () if selection == "uct" else max(self.frontier, key=self.priority)
            ended: list[Place] = []
            while not ended:
                while node not in self.frontier:
                    node = max((c for c in self.children(node) if self.alive(c)), key=self.uct)
                self.frontier.remove(node)
                self.order.append(node)
                ended = [child for child in self.children(node) if self.tree.say(child) != "on"]
                self.frontier += [child for child in self.children(node) if child not in ended]
            right = [end for end in ended if self.tree.say(end) == "right"]
            chosen = min(right or ended, key=self.surprise)
            self.outcomes[chosen] = 1 if right else -1
            self.beside |= {*ended} - {chosen}
            if right and stop:
                return

    def children(self, place: Place) -> list[Place]:
        return [(*place, i) for i in range(self.width)]


@pytest.mark.parametrize(("selection", "count"), [("frontier", 1000), ("uct", 200)])
async def test_it_goes_where_the_formulas_say_and_backs_up_what_they_say(
    chat: Chat, selection: Any, count: int
) -> None:
    """Expansions in their order, values, and who is supervised, on random trees."""
    trees = [random_tree(seed) for seed in range(count)]
    deepest = 0
    for stop in (False, True):
        strategy = TreeSearch(width=3, selection=selection, stop_when_solved=stop)
        some = trees[stop::2]
        groups, _ = await search(strategy, some, chat, 5)
        for tree, group in zip(some, groups, strict=True):
            reference = Reference(tree, 3)
            reference.search(5, selection, stop)
            assert list(dict.fromkeys(place[:-1] for place in tree.seen)) == reference.order
            turns = {read(turn.text): turn for turn in group.turns}
            assert len(turns) == len(group.turns) == 3 * len(reference.order)
            for place, turn in turns.items():
                own = {"right": 1.0, "wrong": -1.0, "on": reference.q(place)}[tree.say(place)]
                assert turn.info["value"] == pytest.approx(own)
                assert (turn.outcome is Outcome.CANCELLED) == (place in reference.frontier)
            supervised = {place: t.info["supervised"] for place, t in turns.items() if "supervised" in t.info}
            assert supervised == dict.fromkeys(reference.outcomes, True) | dict.fromkeys(reference.beside, False)
            for place, turn in turns.items():
                assert (read(group.turns[turn.parent].text) if turn.parent is not None else ()) == place[:-1]
            deepest = max(deepest, *map(len, reference.order))
    assert deepest >= 4


HARD, LAST, TASKS = 0.02, 5, 120
"""A planted problem: the chance of a last turn to be right, which turn is the last, and how many such trees."""


def attempt(*where: object) -> str:
    return "right" if random.Random(repr(where)).random() < HARD else "wrong"


def solved(groups: list[Group]) -> int:
    return sum(any(path[-1].info.get("success") for path in group.trajectories()) for group in groups)


def within(seen: int, chance: float) -> bool:
    """Whether so many of the trees are in the 99 % interval of a binomial."""
    return abs(seen - TASKS * chance) <= 2.576 * math.sqrt(TASKS * chance * (1 - chance)) + 0.5


async def test_at_equal_tokens_it_solves_more_than_independent_rollouts(chat: Chat) -> None:
    """The way there is easy and the policy knows it; the last turn of five is hard, and right once in fifty times.

    Each independent rollout pays five turns for one attempt at it. The search pays 8 * 5 turns for its first
    eight; then the uncertain nodes before the last turn come first, and each is 8 turns for eight more. So with
    80 turns, spent on 8 * 5 + 5 * 8, it has 48 attempts where the others have 16, and both rates are known.
    """
    trees = [
        Tree(
            lambda place, i=i: "on" if len(place) < LAST else attempt(i, place),  # type: ignore[misc]
            lambda place: 0.1 if len(place) < LAST - 1 else 1.0,
        )
        for i in range(TASKS)
    ]
    searched, _ = await search(TreeSearch(stop_when_solved=False), trees, chat, 6)
    engine = Script(say=lambda session, depth: "on" if depth < LAST - 1 else attempt(session))
    others, _ = await play(Independent(), engine, chat, TASKS, 16)
    for groups in (searched, others):
        assert {sum(len(turn.action) for turn in group.turns) for group in groups} == {80 * LENGTH}
    found, usual = solved(searched), solved(others)
    assert within(found, 1 - (1 - HARD) ** 48)
    assert within(usual, 1 - (1 - HARD) ** 16)
    pooled = (found + usual) / (2 * TASKS)
    assert (found - usual) / math.sqrt(2 * TASKS * pooled * (1 - pooled)) > 2.326, "p < .01, one-sided"


async def test_of_ends_beside_each_other_the_right_or_the_most_confident_wrong_one_is_supervised(
    chat: Chat,
) -> None:
    """By the mean over the whole way: the other way's last turn is the surer one."""
    logprobs = {(0,): -1.0, (0, 0): -0.5, (0, 1): -0.2, (0, 2): -0.9, (1,): -0.1, (2,): -0.1}
    ends = {(0, 0): "wrong", (0, 1): "wrong", (0, 2): "wrong"}
    for right, expected in ((None, (0, 1)), ((0, 2), (0, 2))):
        tree = Tree(
            lambda place, right=right: "right" if place == right else ends.get(place, "on"),  # type: ignore[misc]
            logprob=logprobs.__getitem__,
        )
        [group], _ = await search(TreeSearch(width=3), [tree], chat, 1)
        marks = {read(turn.text): turn.info["supervised"] for turn in group.turns if "supervised" in turn.info}
        assert marks == {end: end == expected for end in ends}


async def test_an_episode_that_a_limit_cut_off_is_wrong(chat: Chat) -> None:
    [group], manager = await search(TreeSearch(width=2), [Tree(lambda place: "on")], chat, 1, Words(turns=2))
    ends = [path[-1] for path in group.trajectories() if path[-1].outcome is Outcome.MAX_TURNS]
    assert [turn.info["value"] for turn in ends] == [-1.0, -1.0]
    assert manager.outcomes == {Outcome.MAX_TURNS: 2, Outcome.CANCELLED: 1}


async def test_it_ends_when_it_is_right_when_its_size_is_reached_and_when_nothing_is_open(chat: Chat) -> None:
    def ends(at: int, word: str) -> Tree:
        return Tree(lambda place: word if len(place) == at else "on")

    for tree, size, stop, turns in (
        (ends(2, "right"), 9, True, 4),
        (ends(2, "right"), 1, False, 4),
        (ends(2, "wrong"), 9, True, 6),
        (ends(1, "wrong"), 9, True, 2),
    ):
        [group], _ = await search(TreeSearch(width=2, stop_when_solved=stop), [tree], chat, size)
        assert len(group.turns) == turns


TROUBLE = {"crash": Outcome.ENV_ERROR, "hang": Outcome.TOOL_TIMEOUT}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_failures_cost_their_branch_only(chat: Chat, trouble: str, deterministic: bool) -> None:
    """One of three turns fails, and the search goes on beside it; no world is left open."""

    def say(place: Place) -> str:
        if place[-1] == 1:
            return trouble
        return "wrong" if len(place) == 3 else "on"

    guard = {"episode_timeout": 0.5 if trouble == "hang" else 60.0, "deterministic": deterministic}
    [group], manager = await search(TreeSearch(width=3), [Tree(say)], chat, 4, **guard)
    outcomes = [group.outcome(leaf) for leaf in group.leaves()]
    assert outcomes.count(TROUBLE[trouble]) >= 2
    assert outcomes.count(Outcome.DONE) >= 4
    assert set(outcomes) <= {TROUBLE[trouble], Outcome.DONE, Outcome.CANCELLED}
    assert sum(manager.outcomes.values()) == len(outcomes)
    assert all("value" not in group.turns[leaf].info for leaf in group.leaves() if group.outcome(leaf).is_failure)


async def test_what_failed_in_every_child_ends_the_search(chat: Chat) -> None:
    [group], manager = await search(TreeSearch(width=2), [Tree(lambda place: "crash")], chat, 9)
    assert [turn.outcome for turn in group.turns] == [Outcome.ENV_ERROR] * 2
    assert manager.outcomes == {Outcome.ENV_ERROR: 2}


async def test_cancelling_leaves_no_world_open(chat: Chat) -> None:
    trees = [random_tree(seed) for seed in range(20)]
    for patience in range(1, 130, 7):
        env = Words(jitter=True)
        running = asyncio.ensure_future(search(TreeSearch(width=3), trees, chat, 9, env, concurrency=7))
        for _ in range(patience):
            await asyncio.sleep(0)
        assert running.cancel(), "it was not over"
        with pytest.raises(asyncio.CancelledError):
            await running
        assert env.open == set()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [("stuck", "a thread is running"), ("burnt", "the disk is full"), ("deep", "TimeoutError")],
)
async def test_a_state_that_is_not_copied_has_one_child_and_shares_nothing(
    chat: Chat, trouble: str, reason: str
) -> None:
    def say(place: Place) -> str:
        return {1: trouble, 2: "on"}.get(len(place), "wrong")

    [group], _ = await search(TreeSearch(width=3), [Tree(say)], chat, 3, episode_timeout=0.5)
    assert sorted(read(turn.text) for turn in group.turns) == [
        *((0,), (0, 0), (0, 0, 0)), *((1,), (1, 0), (1, 0, 0)), *((2,), (2, 0), (2, 0, 0))
    ]  # fmt: skip
    for turn in group.turns:
        where = read(turn.text)
        assert turn.info["words"] == len(where)
        assert turn.info.get("fork_refused") == (reason if len(where) > 1 else None)


async def test_one_seed_gives_one_forest_whatever_takes_long(chat: Chat) -> None:
    """With the gate all turns are sampled in one order, too, of which the scripted ids are numbers."""
    runs = []
    for _ in range(3):
        trees = [random_tree(seed) for seed in range(8)]
        groups, _ = await search(TreeSearch(width=3), trees, chat, 4, Words(jitter=True), deterministic=True)
        runs.append([[(turn.parent, turn.action.ids, turn.info) for turn in group.turns] for group in groups])
    assert runs[0] == runs[1] == runs[2]


async def test_without_the_gate_only_the_order_of_sampling_depends_on_time(chat: Chat) -> None:
    runs = []
    for _ in range(2):
        trees = [random_tree(seed) for seed in range(20)]
        groups, _ = await search(TreeSearch(width=3), trees, chat, 4, Words(jitter=True), concurrency=3)
        runs.append([[(turn.parent, turn.text, turn.info) for turn in group.turns] for group in groups])
    assert runs[0] == runs[1]


async def test_a_cached_solution_stands_in_where_nothing_was_found(chat: Chat) -> None:
    lucky = Tree(lambda place: "on" if len(place) < 2 else "right", logprob=lambda place: -1.0 + place[-1] / 2)
    luckless = Tree(lambda place: "on" if len(place) < 3 else "wrong")
    for replay, added in ((False, 0), (True, 2)):
        strategy = build("rollout", {"name": "tree_search", "width": 2, "replay": replay})
        [first], _ = await search(strategy, [lucky], chat, 3)
        [second], _ = await search(strategy, [luckless], chat, 3)
        assert all(turn.source == "on_policy" for turn in first.turns)
        again = [turn for turn in second.turns if turn.source == "replay"]
        assert len(again) == added
        if replay:
            assert list(second.trajectories())[-1] == again
            assert [turn.action for turn in again] == [
                t.action for t in first.turns if read(t.text) in {(0,), (0, 1)}
            ]
            assert again[-1].outcome is Outcome.DONE
            assert again[-1].info["success"] is again[-1].info["supervised"] is True
            assert [turn.info["value"] for turn in again] == [1.0, 1.0]


async def test_an_engine_without_entropies_serves_where_they_do_not_count(chat: Chat) -> None:
    tree = Tree(lambda place: "right" if len(place) == 2 else "on")
    async with Services() as services:
        engine = forest(tree)
        sample = engine.sample

        async def blind(*args: Any, **kwargs: Any) -> Any:
            said = await sample(*args, **kwargs)
            return replace(said, tokens=Tokens(said.tokens.ids, said.tokens.logprobs))

        engine.sample = blind  # type: ignore[method-assign]
        manager = Manager(Words(), engine, chat, services, Limits(10**6))
        tasks = [("t0", Task("t", "Go", ""))]
        with pytest.raises(ExceptionGroup) as caught:
            await manager.run(TreeSearch(), tasks, 0, 1)
        assert caught.group_contains(ConfigError, match="entropy_weight=0")
        [group] = await manager.run(TreeSearch(entropy_weight=0.0), tasks, 0, 1)
        assert group.turns[-1].info["value"] == 1.0


async def test_an_environment_must_say_what_is_right(chat: Chat) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await search(TreeSearch(), [Tree(lambda place: "mute")], chat, 1)
    assert caught.group_contains(AgentgymError, match="success")


@pytest.mark.parametrize(("key", "value"), [("width", 0), ("exploration", -1.0), ("backup_floor", 1.5)])
def test_impossible_settings_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        build("rollout", {"name": "tree_search", key: value})
