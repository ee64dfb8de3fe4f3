"""REX-RAG (arXiv 2508.08149): where a trajectory answered wrongly, another one doubts in time."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from agentgym.engine import Sample
from agentgym.errors import ConfigError
from agentgym.ranges import within
from agentgym.rollout.doubts import DOUBTS, Moment, Probes, logprobs_of
from agentgym.rollout.outcome_value import outcome_value
from agentgym.rollout.walk import Walk
from agentgym.types import Group, Outcome, Tokens

if TYPE_CHECKING:
    from agentgym.rollout.manager import Manager, Move


@dataclass(frozen=True)
class RexRag:
    """Independent trajectories, and probes: after a wrong answer, with `probability`, a second trajectory that
    is the same, token by token, up to where the last turn began to answer. There it says one of `doubts`, each
    as often as any other, and the policy goes on from that, in the same turn and then as usual.

    before: the text with which an answer begins; a token that holds its beginning is deleted as a whole. A
    trajectory is wrong if it ended with info["success"] false.
    A probe plays the earlier actions again, in a fresh world with the same seed: only some wrong trajectories are
    followed by one, and to fork the world before every turn, in case it is the last, costs far more. Raises
    ConfigError where that shows anything else than the first time.

    The turn that doubts is aided. For the credit step `mixture_correction`, every turn in which a doubt stands
    where a probe could have put it, be it said by the policy, has in info["doubts"], for each: rate (how often a
    wrong trajectory is followed by a probe with this doubt), tokens, logprob (of the doubt, under the policy),
    inserted (whether a probe put it there) and reach: how likely the policy is to answer wrongly right there, by
    one of the wrong answers that the group's trajectories gave. This is as much as is known: the true reach is
    larger when there are more wrong answers. Log-probabilities are at temperature 1, so play at temperature 1.
    """

    probability: float = 0.2
    before: str = "<answer>"
    doubts: tuple[str, ...] = DOUBTS

    def __post_init__(self) -> None:
        within(self, 0, 1, "probability")
        if not self.before:
            raise ValueError('before is empty; give the text with which an answer begins, such as "<answer>"')
        if not self.doubts or not all(self.doubts) or len(set(self.doubts)) < len(self.doubts):
            raise ValueError("doubts must be one or more texts, none of them empty or given twice")

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        manager.join(group.id)
        try:
            await Probing(self, manager, group, seed).play(group_size)
        finally:
            manager.leave(group.id)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer. kept: what its turn said before. answer: what is deleted."""

    walk: Walk
    kept: Tokens
    answer: tuple[int, ...]


class Probing:
    """One group while it is played."""

    def __init__(self, config: RexRag, manager: Manager, group: Group, seed: int) -> None:
        self.config, self.manager, self.group, self.seed = config, manager, group, seed
        self.doubts = [manager.renderer.speak(text, end=False) for text in config.doubts]
        self._moments: dict[Walk, list[Moment]] = {}
        self._inserted: dict[Walk, tuple[int, int, int]] = {}  # turn, place and length
        self._playing = 0

    async def play(self, size: int) -> None:
        """The trajectories, then the probes; all are put into the group, in this order."""
        originals = await self._all({number: (hash((self.seed, number)), self._speak) for number in range(size)})
        mistakes = {number: m for number, walk in enumerate(originals) if (m := self._mistake(walk))}
        doubts = {number: doubt for number, m in mistakes.items() if (doubt := self._doubt(m))}
        probes = await self._all(
            {
                size + number: (mistakes[number].walk.seed, self._probe(mistakes[number], doubt))
                for number, doubt in doubts.items()
            }
        )
        await self._mark([*originals, *probes], sorted({mistake.answer for mistake in mistakes.values()}))
        for walk in (*originals, *probes):
            walk.commit()

    async def _all(self, plays: dict[int, tuple[int, Move]]) -> list[Walk]:
        """Play them all; number: seed and move. The group is waited for unless one of its episodes is in play."""
        import asyncio

        names = {number: f"{self.group.id}/{number}" for number in plays}
        self._playing = len(plays)
        for name in names.values():
            self.manager.join(name)
        if plays:
            self.manager.leave(self.group.id)
        async with asyncio.TaskGroup() as running:
            tasks = [
                running.create_task(self.manager.play(self.group, seed, names[number], move))
                for number, (seed, move) in plays.items()
            ]
        self.manager.join(self.group.id)
        return [task.result() for task in tasks]

    async def _speak(self, walk: Walk) -> None:
        self._note(walk)
        await walk.apply(await self.manager.sample(walk))
        self._done(walk)

    def _note(self, walk: Walk) -> Moment:
        moment = Moment(tuple(walk.ids), walk.budget, walk.env.state_key())
        self._moments.setdefault(walk, []).append(moment)
        return moment

    def _done(self, walk: Walk) -> None:
        """The last of the group's episodes has the group waited for before it is waited for no more."""
        self._playing -= walk.outcome is not None
        if not self._playing:
            self.manager.join(self.group.id)

    def _mistake(self, walk: Walk) -> Mistake | None:
        """Its wrong answer, if it gave one."""
        if walk.outcome is not Outcome.DONE or outcome_value(walk) > 0:
            return None
        action, decode = walk.turns[-1].action, self.manager.renderer.decode
        start = decode(action.ids).rfind(self.config.before)
        if start < 0:
            return None
        cut = bisect_right(range(len(action) + 1), start, key=lambda n: len(decode(action.ids[:n]))) - 1
        return Mistake(walk, part(action, 0, cut), action.ids[cut:])

    def _doubt(self, mistake: Mistake) -> tuple[int, ...]:
        """What a probe says in place of the answer; empty where there is none, or no room to go on from it."""
        walk = mistake.walk
        coin = random.Random(hash((walk.seed, walk.depth)))
        doubt, probes = coin.choice(self.doubts), coin.random() < self.config.probability
        return doubt if probes and walk.budget + len(mistake.answer) > len(doubt) else ()

    def _probe(self, mistake: Mistake, doubt: tuple[int, ...]) -> Move:
        turns, moments = mistake.walk.turns, self._moments[mistake.walk]

        async def move(walk: Walk) -> None:
            depth = walk.depth
            if depth >= len(turns):
                return await self._speak(walk)
            if self._note(walk) != moments[depth]:
                raise ConfigError(
                    f"rex_rag plays actions again, and {type(walk.env).__name__} showed something else the second "
                    f"time, before turn {depth + 1} of task {self.group.task.id!r}: draw all randomness from the "
                    "`rng` that start() gets, and use tools that answer alike"
                )
            if depth < len(turns) - 1:
                await walk.apply(Sample(turns[depth].action, turns[depth].text, "stop"))
            else:
                await self._go_on(walk, mistake.kept, doubt)

        return move

    async def _go_on(self, walk: Walk, kept: Tokens, doubt: tuple[int, ...]) -> None:
        """Say the doubt, and what the policy says after it."""
        said = (*kept.ids, *doubt)
        scored = await self.manager.score(walk.name, [*walk.ids, *said])
        walk.seed = hash((walk.seed, 1))  # the world is the other's, what it draws from here on its own
        rest = await self.manager.sample(walk, said)
        action = joined(kept, part(scored, len(scored) - len(doubt), len(scored)), rest.tokens)
        self._inserted[walk] = walk.depth, len(kept), len(doubt)
        await walk.apply(Sample(action, self.manager.renderer.decode(said) + rest.text, rest.finish), "aided")
        self._done(walk)

    async def _mark(self, walks: list[Walk], answers: list[tuple[int, ...]]) -> None:
        """Note at each turn where a probe could have put a doubt that stands there."""
        rate = self.config.probability / len(self.doubts)
        doubts = Probes(self.doubts, answers, rate, partial(self.manager.score, self.group.id))
        for walk in walks:
            if walk.outcome is None or not walk.outcome.is_valid:
                continue
            at, *inserted = self._inserted.get(walk, (-1, 0, 0))
            for depth, (moment, turn) in enumerate(zip(self._moments[walk], walk.turns, strict=True)):
                marks = await doubts.marks(moment, turn, (inserted[0], inserted[1]) if depth == at else None)
                if marks:
                    turn.info["doubts"] = marks


def part(tokens: Tokens, start: int, end: int) -> Tokens:
    """A run of the tokens."""
    entropy = None if tokens.entropy is None else tokens.entropy[start:end]
    versions = None if tokens.versions is None else tokens.versions[start:end]
    return Tokens(tokens.ids[start:end], logprobs_of(tokens)[start:end], entropy, versions)


def joined(*parts: Tokens) -> Tokens:
    """One segment of several; entropies and versions only if all have them."""
    ids = tuple(i for tokens in parts for i in tokens.ids)
    logprobs = tuple(value for tokens in parts for value in logprobs_of(tokens))
    entropies = [tokens.entropy for tokens in parts if tokens.entropy is not None]
    entropy = tuple(value for values in entropies for value in values) if len(entropies) == len(parts) else None
    numbers = [tokens.versions for tokens in parts if tokens.versions is not None]
    versions = tuple(value for values in numbers for value in values) if len(numbers) == len(parts) else None
    return Tokens(ids, logprobs, entropy, versions)
