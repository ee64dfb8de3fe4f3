"""A worker process: actions come in by its standard input, replies go out by its standard output."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from agentgym.config import convert
from agentgym.errors import AgentgymError
from agentgym.sandboxes.inside.kernel import PR_SET_PDEATHSIG, prctl
from agentgym.services import Services
from agentgym.tools.serving.settings import ServeTools
from agentgym.tools.serving.trajectories import Trajectories
from agentgym.tools.serving.wire import MAX_LINE, Action, Started, from_line, to_line

Send = Callable[[int, Any], None]


async def work(commands: int, replies: int) -> None:
    """Serve until the router closes its end. The first line has the settings, every other one an action."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(MAX_LINE)
    pipe, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(commands, "rb", 0)
    )
    out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(replies, "wb", 0))

    def send(number: int, message: Any) -> None:
        out.write(to_line(number, message))

    try:
        async with Services() as services:
            try:
                _, table = from_line(await reader.readline(), dict[str, Any])
                trajectories = await Trajectories.open(convert(ServeTools, table, "serve"), services)
            except AgentgymError as error:
                send(0, Started(error=str(error)))
            else:
                send(0, Started(tools=trajectories.names))
                await _serve(trajectories, reader, send)
    finally:
        out.close()
        pipe.close()


async def _serve(trajectories: Trajectories, reader: asyncio.StreamReader, send: Send) -> None:
    async def answer(number: int, action: Action) -> None:
        send(number, await trajectories.act(action))

    tasks = {asyncio.create_task(trajectories.free_idle())}
    try:
        async for line in reader:
            task = asyncio.create_task(answer(*from_line(line, Action)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await trajectories.close()


def main() -> None:
    """Keeps the pipes to itself: what tools print goes to standard error, and they read nothing."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    commands, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    asyncio.run(work(commands, replies))


if __name__ == "__main__":
    main()
