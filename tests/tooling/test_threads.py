"""Plain functions run in threads that can be stopped, and that stop nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading

import pytest

from agentgym.errors import ToolFailed
from agentgym.tooling.threads import MAX_STUCK, Stopped, Threads

PATIENCE = 20.0


async def cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def seen(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


class Loop:
    """Pure Python without end; knows how it was left."""

    def __init__(self) -> None:
        self.begun, self.left = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self.begun.set()
            while True:
                pass
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.left.set()


async def test_a_cancelled_loop_ends() -> None:
    loop = Loop()
    running = asyncio.ensure_future(Threads("t").run(loop))
    await seen(loop.begun)
    await cancel(running)
    await seen(loop.left)
    assert isinstance(loop.error, Stopped)


async def test_a_thread_is_used_again_but_not_after_it_was_stopped() -> None:
    threads = Threads("t")
    first = await threads.run(threading.get_ident)
    assert await threads.run(threading.get_ident) == first
    loop = Loop()
    running = asyncio.ensure_future(threads.run(loop))
    await seen(loop.begun)
    await cancel(running)
    assert await threads.run(lambda: sum(range(10**6))) == sum(range(10**6))


async def test_stopping_one_call_never_hits_another() -> None:
    """Calls that are cancelled about when they end, with others in the same threads right behind them."""
    threads = Threads("t")

    async def short(n: int) -> None:
        task = asyncio.ensure_future(threads.run(lambda: sum(range(200))))
        await asyncio.sleep(0)
        if n % 2:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for n in range(400):
        await short(n)
        assert await threads.run(lambda: sum(range(300))) == 44850


async def test_errors_come_as_they_are_and_context_variables_go_along() -> None:
    name = contextvars.ContextVar("name", default="")
    name.set("here")
    assert await Threads("t").run(name.get) == "here"
    with pytest.raises(ZeroDivisionError):
        await Threads("t").run(lambda: 1 // 0)


async def test_calls_that_cannot_be_stopped_are_counted_and_then_refused() -> None:
    threads, free = Threads("slow", patience=0), threading.Event()
    begun = [threading.Event() for _ in range(MAX_STUCK)]

    def stuck(event: threading.Event) -> None:
        event.set()
        free.wait(PATIENCE)

    try:
        for event in begun:
            running = asyncio.ensure_future(threads.run(lambda event=event: stuck(event)))
            await seen(event)
            await cancel(running)
        with pytest.raises(ToolFailed, match=r"'slow': 16 calls run on .* write a tool as `async def`"):
            await threads.run(lambda: 1)
    finally:
        free.set()
    for thread in threading.enumerate():
        if thread.name == "tool slow":
            await asyncio.to_thread(thread.join, PATIENCE)
    assert await threads.run(lambda: 1) == 1


def test_a_stuck_call_does_not_keep_the_interpreter() -> None:
    program = """
import asyncio, time
from agentgym.tooling.threads import Threads

async def main():
    try:
        await asyncio.wait_for(Threads("t").run(lambda: time.sleep(600)), 0.2)
    except TimeoutError:
        print("late")

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "late\n", "")
