"""DeepSearch's rollouts (arXiv 2509.25454): Monte-Carlo tree search over environments whose state forks."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from agentgym.errors import ConfigError, UserError
from agentgym.ranges import at_least, within
from agentgym.rollout.outcome_value import outcome_value
from agentgym.rollout.search_tree import Node, back_up
from agentgym.rollout.walk import Walk
from agentgym.types import Group, Turn

if TYPE_CHECKING:
    from agentgym.rollout.manager import Manager

log = logging.getLogger("agentgym")


@dataclass(frozen=True)
class TreeSearch:
    """One tree a group, of up to group_size descents; each goes on until an expansion of it has ended an episode.

    A node is a policy turn, where an environment can fork; the paper cuts after every 256 tokens. An expansion
    samples `width` next turns at once, each in a world of its own, which lives until the node is expanded or the
    search ends. While no turn ends an episode, the descent expands the one with the highest UCT, `Q + exploration
    * sqrt(ln N_parent / N)`, where new ones are equal and the first is taken. Of those that end beside each other
    one is supervised: a right one, or else a wrong one, and of several that which the policy was most confident of
    (lowest mean -logprob). Its outcome, 1 for info["success"] and -1 for anything else, also where a limit cut it
    off, is backed up with weight max(i / l, backup_floor) at the i-th of its l turns.

    The next descent starts at the open node, anywhere, with the highest quality_weight * tanh(Q_parent) +
    entropy_weight * H + depth_weight * sqrt(d / max_depth), H the mean entropy of its turn; an entropy_weight of 0
    does without. How many turns there may be is the environment's to say, not max_depth's. selection: with `uct`
    descents start at the prompt and go by UCT all the way, as the paper's ablation does.
    stop_when_solved: the first right end is the last. A search also ends when nothing is open.

    In the turns' info: `value` is q; at an end `supervised` says whether it was. What is still open is cancelled.
    replay: a group that found nothing gets a right trajectory that an earlier one found for the same task, with
    source `replay`. The paper fills its cache between rounds of training, from tasks that are rarely solved, and
    does not search those again; here every search is made, and the cache ends with the run.
    """

    width: int = 8
    exploration: float = 2.0
    quality_weight: float = 0.4
    entropy_weight: float = 0.4
    depth_weight: float = 0.01
    max_depth: int = 64
    backup_floor: float = 0.1
    selection: Literal["frontier", "uct"] = "frontier"
    stop_when_solved: bool = True
    replay: bool = False

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "max_depth")
        at_least(self, 0, "exploration", "quality_weight", "entropy_weight", "depth_weight")
        within(self, 0, 1, "backup_floor")

    def uct(self, node: Node) -> float:
        """How much a descent wants to go on at a child."""
        assert node.parent is not None
        return node.quality + self.exploration * math.sqrt(math.log(node.parent.visits) / node.visits)

    def priority(self, node: Node) -> float:
        """How much the next descent wants to start at an open node."""
        quality = math.tanh(node.parent.quality) if node.parent else 0.0
        depth = math.sqrt(node.depth / self.max_depth)
        return self.quality_weight * quality + self.entropy_weight * node.entropy + self.depth_weight * depth

    @cached_property
    def _solved(self) -> dict[str, list[Turn]]:
        """A right trajectory by its task's id."""
        return {}

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        manager.join(group.id)
        try:
            await Search(self, manager, group).grow(seed, group_size)
        finally:
            manager.leave(group.id)
        if self.replay:
            self._remember_or_replay(group)

    def _remember_or_replay(self, group: Group) -> None:
        ends = [path for path in group.trajectories() if path[-1].info.get("supervised")]
        right = [path for path in ends if path[-1].info["value"] > 0]
        if right:
            self._solved[group.task.id] = right[0]
        for i, turn in enumerate(self._solved.get(group.task.id, ()) if not right else ()):
            info = {**turn.info, "value": 1.0}
            parent = len(group.turns) - 1 if i else None
            group.turns.append(replace(turn, parent=parent, source="replay", signals={}, info=info))


class Search:
    """One group while it grows."""

    def __init__(self, config: TreeSearch, manager: Manager, group: Group) -> None:
        self.config, self.manager, self.group = config, manager, group
        self._root = Node()
        self._nodes: list[Node] = []
        self._open: dict[Node, Walk] = {}
        self._walks: list[Walk] = []  # in an order that does not depend on timing

    async def grow(self, seed: int, descents: int) -> None:
        """Search, and put all turns into the group."""
        import asyncio

        prompt = await self.manager.play(self.group, seed, f"{self.group.id}/0", turns=0)
        self._walks.append(prompt)
        if prompt.outcome is None:
            self._open[self._root] = prompt
        for _ in range(descents):
            if not self._open or await self._descend():
                break
        await asyncio.gather(*(self.manager.give_up(walk) for walk in self._open.values()))
        for node in self._nodes:
            node.turn.info["value"] = node.q
        for walk in self._walks:
            walk.commit()

    async def _descend(self) -> bool:
        """Expand until something ends; whether the search ends with it."""
        config = self.config
        node = self._root if config.selection == "uct" else max(self._open, key=config.priority)
        ends: list[Node] = []
        while node.is_alive and not ends:
            if node.is_open:
                await self._expand(node)
                ends = [child for child in node.children if child.q]
            else:
                node = max((child for child in node.children if child.is_alive), key=config.uct)
        if not ends:  # the machinery failed
            return False
        best = min(ends, key=lambda end: (-end.q, end.surprise()))
        back_up(best, config.backup_floor)
        for end in ends:
            end.turn.info["supervised"] = end is best
        return config.stop_when_solved and best.q > 0

    async def _expand(self, node: Node) -> None:
        """Sample the node's children; those that the machinery failed are turns of the group, and no children."""
        import asyncio

        node.is_open, walk = False, self._open.pop(node)
        twins, refused = await self._fork(walk)
        self._walks += twins
        async with asyncio.TaskGroup() as running:
            for child in (walk, *twins):
                running.create_task(self.manager.play_on(child, self._turn, turns=1))
        if refused:
            walk.turns[-1].info["fork_refused"] = refused
        for child in (walk, *twins):
            if child.outcome is None or child.outcome.is_valid:
                self._adopt(node, child)

    async def _fork(self, walk: Walk) -> tuple[list[Walk], str]:
        """The worlds that there are beside the walk's own, and why there are not more, or empty."""
        twins: list[Walk] = []
        try:
            for copy in range(1, self.config.width):
                seed, name = hash((walk.seed, walk.depth, copy)), f"{walk.name}+{walk.depth}.{copy}"
                twins.append(await self.manager.fork(walk, seed, name))
        except UserError:
            raise
        except Exception as error:  # the walk goes on; what could not be copied once is not tried again
            log.warning("episode %s: no fork (%s)", walk.name, error)
            return twins, str(error) or type(error).__name__
        return twins, ""

    async def _turn(self, walk: Walk) -> None:
        """One turn. The search itself is waited for whenever none of its episodes is in play."""
        self.manager.leave(self.group.id)
        sample = await self.manager.sample(walk)
        self.manager.join(self.group.id)
        await walk.apply(sample)

    def _adopt(self, node: Node, walk: Walk) -> None:
        """Make the turn that the walk has just made a child."""
        turn = walk.turns[-1]
        child = Node(node, turn, walk.outcome is None, outcome_value(walk), self._entropy(turn))
        node.children.append(child)
        self._nodes.append(child)
        if child.is_open:
            self._open[child] = walk

    def _entropy(self, turn: Turn) -> float:
        if turn.action.logprobs is None or (turn.action.entropy is None and self.config.entropy_weight):
            raise ConfigError(
                "tree_search needs an engine that reports the log-probabilities and entropies of what it samples; "
                "with entropy_weight=0 it does without entropies"
            )
        return fmean(turn.action.entropy or (0.0,))
