"""The gate of reproducible rollouts."""

from __future__ import annotations

import asyncio

from agentgym.rollout.lockstep import Lockstep


class Crowd:
    """Members of one gate, and the order in which they passed."""

    def __init__(self, *names: str) -> None:
        self.gate = Lockstep()
        self.passed: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        for name in names:
            self.gate.join(name)

    async def come(self, name: str) -> None:
        async def walk() -> None:
            await self.gate.wait(name)
            self.passed.append(name)

        self.tasks[name] = asyncio.create_task(walk())
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_nobody_passes_before_all_wait_and_all_pass_by_name() -> None:
    for order in ("abc", "cba", "bca"):
        crowd = Crowd(*"abc")
        for name in order[:-1]:
            await crowd.come(name)
        assert crowd.passed == []
        await crowd.come(order[-1])
        assert crowd.passed == ["a", "b", "c"]


async def test_it_closes_again() -> None:
    crowd = Crowd(*"ab")
    for name in "abba":
        await crowd.come(name)
    assert crowd.passed == ["a", "b", "a", "b"]
    await crowd.come("a")
    assert len(crowd.passed) == 4
    crowd.tasks["a"].cancel()


async def test_who_leaves_is_not_waited_for() -> None:
    crowd = Crowd(*"abc")
    await crowd.come("c")
    await crowd.come("a")
    crowd.gate.leave("b")
    await settle()
    assert crowd.passed == ["a", "c"]


async def test_who_gives_up_waiting_counts_as_absent() -> None:
    crowd = Crowd(*"abc")
    await crowd.come("a")
    crowd.tasks["a"].cancel()
    await settle()
    await crowd.come("b")
    await crowd.come("c")
    assert crowd.passed == []
    crowd.gate.leave("a")
    await settle()
    assert crowd.passed == ["b", "c"]
