"""Demonstrations: the environment's own scripted policy plays, and the policy learns from what it said."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.engine import Sample
from agentgym.errors import ConfigError
from agentgym.rollout.walk import Walk
from agentgym.types import Group, Tokens

if TYPE_CHECKING:
    from agentgym.rollout.manager import Manager, Move


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Traces are played end to end in the real environment, tool outputs included, never stitched together."""

    async def run(self, manager: Manager, group: Group, seed: int, group_size: int) -> None:
        import asyncio

        async with asyncio.TaskGroup() as tasks:
            plays = [
                tasks.create_task(
                    manager.play(group, seed=hash((seed, i)), name=f"{group.id}/{i}", move=demonstrator())
                )
                for i in range(group_size)
            ]
        for play in plays:
            play.result().commit()


def demonstrator() -> Move:
    """A move that says what the environment's scripted policy says next."""
    script = None

    async def move(walk: Walk) -> None:
        nonlocal script
        if walk.at_start:
            try:
                script = walk.env.demonstrate(random.Random(walk.seed))
                text = next(script)
            except NotImplementedError as error:
                raise ConfigError(
                    f"{error}. The policy can play them without: by a recipe without demonstrations, such as "
                    "recipe=grpo, or in `agentgym rollout` without --demo"
                ) from error
        else:
            assert script is not None, "the first move is always at the start"
            text = script.send(walk.observation)
        stopped = bool(walk.env.stop) and text.endswith(walk.env.stop)
        ids = walk.renderer.speak(text, end=not stopped)
        while walk.chunks and walk.outcome is None and len(ids) > walk.budget:
            part, ids = ids[: walk.budget], ids[walk.budget :]
            await walk.apply(Sample(Tokens(part), walk.renderer.decode(part), "length"), source="demo")
            text = walk.renderer.decode(ids if stopped else ids[:-1])
        if walk.outcome is None:
            await walk.apply(Sample(Tokens(ids), text, "stop" if stopped else "eos"), source="demo")

    return move
