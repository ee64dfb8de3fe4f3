"""The indexes of worlds: right however many there are, and not all kept."""

from __future__ import annotations

from agentgym.envs.worlds import index
from agentgym.envs.worlds.index import KEPT, WorldIndex
from agentgym.envs.worlds.passages import passages
from agentgym.services import Services


async def test_more_worlds_than_are_kept_are_all_searched_right() -> None:
    worlds = [WorldIndex(seed, 100) for seed in range(KEPT + 3)]
    async with Services() as services:
        for world in [*worlds, *worlds[:3]]:
            fact = next(passages(world))
            [[hit, *_]] = await (await services.get(world)).search([fact.text], 3)
            assert hit.passage == fact
    assert index._index.cache_info().currsize == KEPT
