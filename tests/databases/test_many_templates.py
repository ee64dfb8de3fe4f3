"""More templates than are kept, asked for at the same time."""

from __future__ import annotations

import asyncio

from agentgym.database import Template
from agentgym.databases.host import WorldHost
from agentgym.databases.worlds import Worlds


async def test_templates_come_and_go_while_others_are_opened() -> None:
    host, free = WorldHost(Worlds(templates=2)), asyncio.Semaphore(6)

    async def ask(number: int) -> int:
        script = f"create table t (x int);\ninsert into t values ({number});\n"
        async with free:
            world = await host.open(Template("sqlite", script=script))
            try:
                ((value,),) = (await world.execute("select x from t", 5)).rows
            finally:
                await world.close()
        assert isinstance(value, int)
        return value

    try:
        wanted = [number % 25 for number in range(50)]
        assert await asyncio.gather(*map(ask, wanted)) == wanted
    finally:
        await host.close()
