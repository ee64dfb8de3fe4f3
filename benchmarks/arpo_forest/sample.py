"""Samples a forest on engine=torch, or its trajectories one by one from the prompt; tells what was computed."""

from __future__ import annotations

import asyncio
from typing import Any

from arpo_forest.forest import Shape, make_forest, make_model

from agentgym.engine import Sampling
from agentgym.engines.torch import Torch
from agentgym.types import Group


class NoText:
    """Ids only: the model has no tokenizer."""

    eos_token_id = None
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012

    def __len__(self) -> int:
        return 0


class Sampler:
    """Walks a forest: each turn's context is given, and as many tokens sampled as its action has."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.engine: Any = Torch(device="cpu").start(make_model("nano"), NoText())
        self.children: dict[int | None, list[int]] = {}
        for index, turn in enumerate(group.turns):
            self.children.setdefault(turn.parent, []).append(index)

    async def turn(self, index: int, ids: list[int], session: str, parent: str | None = None) -> list[int]:
        """Sample the turn; the sequence with it."""
        turn = self.group.turns[index]
        prompt = [*ids, *turn.context.ids]
        sampling = Sampling(max_tokens=len(turn.action))
        sample = await self.engine.sample(prompt, sampling, session=session, parent=parent)
        return [*prompt, *sample.tokens.ids]

    async def grow(self, index: int, ids: list[int], session: str, parent: str | None = None) -> None:
        """The turn and all that follows it; the first child goes on in its session, others share its prefix."""
        ids = await self.turn(index, ids, session, parent)
        first, *others = self.children.get(index, [None])
        tasks = [self.grow(first, ids, session)] if first is not None else []
        tasks += [self.grow(other, ids, str(other), session) for other in others if other is not None]
        await asyncio.gather(*tasks)

    async def follow(self, leaf: int) -> None:
        """One trajectory from the prompt."""
        ids: list[int] = []
        for index in self.group.path(leaf):
            ids = await self.turn(index, ids, str(leaf))

    async def forest(self) -> None:
        """All paths at once, forks as they come."""
        await asyncio.gather(*(self.grow(root, [], str(root)) for root in self.children[None]))

    async def independent(self) -> None:
        """Every trajectory from the prompt, all at once; the engine computes their common prompt once."""
        await asyncio.gather(*(self.follow(leaf) for leaf in self.group.leaves()))

    async def alone(self) -> None:
        """Every trajectory as if it had an engine to itself: nothing of another is in the cache."""
        for leaf in self.group.leaves():
            await self.follow(leaf)
            self.engine.release(str(leaf))


def sampled(shape: Shape, seed: int) -> dict[str, dict[str, int]]:
    """Tokens prefilled and decoded, in each way."""
    group, counts = make_forest(shape, seed), {}
    for way in (Sampler.forest, Sampler.independent, Sampler.alone):
        sampler = Sampler(group)
        asyncio.run(way(sampler))
        counts[way.__name__] = {"prefilled": sampler.engine.prefilled, "decoded": sampler.engine.decoded}
    return counts
