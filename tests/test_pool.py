"""Bounded fan-out that can be cancelled at any time."""

from __future__ import annotations

import asyncio

import pytest

from agentgym.pool import Pool


async def test_no_more_than_size_at_a_time_and_every_result() -> None:
    now = most = 0

    async def job(i: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return i

    async with Pool(3) as pool:
        assert await asyncio.gather(*(pool.run(job(i)) for i in range(10))) == list(range(10))
    assert most == 3


@pytest.mark.parametrize("patience", range(8))
async def test_cancelling_ends_those_in_play_and_those_that_wait_for_room(patience: int) -> None:
    ended = started = 0

    async def job() -> None:
        nonlocal ended, started
        started += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended += 1

    async def fan_out() -> None:
        async with Pool(2) as pool, asyncio.TaskGroup() as running:
            for _ in range(5):
                running.create_task(pool.run(job()))

    playing = asyncio.ensure_future(fan_out())
    for _ in range(patience):
        await asyncio.sleep(0)
    playing.cancel()
    done, _ = await asyncio.wait([playing], timeout=10)
    assert done
    assert playing.cancelled()
    assert started == ended <= 2
