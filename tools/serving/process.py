"""A worker as its router sees it: a process that is started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import replace

from agentgym.config import to_table
from agentgym.errors import AgentgymError, ConfigError
from agentgym.tools.serving.settings import ServeTools
from agentgym.tools.serving.wire import MAX_LINE, Action, Reply, Started, failed, from_line, to_line

COMMAND = (sys.executable, "-P", "-m", "agentgym.tools.serving.worker")
START_SECONDS = 120.0
AGAIN_SECONDS = 1.0
"""Between attempts to start a worker again."""
EXIT_SECONDS = 5.0
"""For a process that has nothing more to say."""
STOP_SECONDS = 40.0
"""For one that has tools to close."""

log = logging.getLogger(__name__)


class Worker:
    """restarts: how often it was started again. tools: the names of its tools. ready: whether it takes actions."""

    def __init__(self, settings: ServeTools) -> None:
        self._setup = to_line(0, to_table(replace(settings, token="", token_env="", token_file="")))
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[None] | None = None
        self._asked: dict[int, asyncio.Future[Reply]] = {}
        self._count = 0
        self.restarts, self.ready = 0, False
        self.tools: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Actions that it has not answered."""
        return len(self._asked)

    async def start(self) -> None:
        """Raises ConfigError when it cannot serve these tools."""
        self._process = await self._spawn()
        self._life = asyncio.create_task(self._live(self._process))

    def send(self, action: Action) -> asyncio.Future[Reply]:
        """Its reply to come, also when it dies over the action. Only while `ready`."""
        assert self._process is not None, "it is ready"
        self._count += 1
        future = self._asked[self._count] = asyncio.get_running_loop().create_future()
        _input(self._process).write(to_line(self._count, action))
        return future

    def kill(self) -> None:
        """End it at once: what it was asked is answered with failures, and another one is started."""
        if self._process is not None:
            _kill(self._process)

    async def close(self) -> None:
        """End it when it has closed its tools, or by force."""
        self.ready = False
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
        if self._process is not None:
            await _end(self._process, STOP_SECONDS)
        self._fail_all()

    async def _spawn(self) -> asyncio.subprocess.Process:
        """A process that is ready."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=pipe, stdout=pipe, limit=MAX_LINE, start_new_session=True
        )
        try:
            _input(process).write(self._setup)
            async with asyncio.timeout(START_SECONDS):
                line = await _output(process).readline()
            started = from_line(line, Started)[1] if line else Started(error="a worker ended before it began")
            if started.error:
                raise ConfigError(started.error)
        except TimeoutError as error:
            await _end(process, 0.0)
            raise ConfigError(f"a worker was not ready within {START_SECONDS:g} s") from error
        except BaseException:
            await _end(process, EXIT_SECONDS)
            raise
        self.tools, self.ready = started.tools, True
        return process

    async def _live(self, process: asyncio.subprocess.Process) -> None:
        """Hand out replies, and start again whenever the process ends."""
        while True:
            try:
                await self._hand_out(process)
            except ValueError:
                log.exception("a worker wrote what is no reply")
            self.ready = False
            await _end(process, EXIT_SECONDS)
            self._fail_all()
            log.warning("a worker ended with %s and is started again", process.returncode)
            process = self._process = await self._spawn_again()
            self.restarts += 1

    async def _hand_out(self, process: asyncio.subprocess.Process) -> None:
        async for line in _output(process):
            number, reply = from_line(line, Reply)
            future = self._asked.pop(number)
            if not future.done():
                future.set_result(reply)

    async def _spawn_again(self) -> asyncio.subprocess.Process:
        while True:
            try:
                return await self._spawn()
            except (AgentgymError, OSError) as error:
                log.error("a worker could not be started again: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)

    def _fail_all(self) -> None:
        while self._asked:
            _, future = self._asked.popitem()
            if not future.done():
                future.set_result(failed("the worker ended over this action, and the trajectory's state is lost"))


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    """Close its input, which tells it to end, and kill it when it takes longer than `patience` seconds."""
    _input(process).close()
    try:
        async with asyncio.timeout(patience):
            await process.communicate()
    except TimeoutError:
        _kill(process)
    finally:
        await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    """Not by `process.kill`, which reaps one that has ended, so that nobody would learn how."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _input(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    assert process.stdin is not None, "it is a pipe"
    return process.stdin


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    assert process.stdout is not None, "it is a pipe"
    return process.stdout
