"""The databases of a run: a server, a world for each template, and the episodes' forks of those."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.database import Access, Template
from agentgym.databases.world import World
from agentgym.errors import EnvError, TaskError

if TYPE_CHECKING:
    from agentgym.databases.worlds import Worlds

STOP_SECONDS = 10.0
COMMAND = (sys.executable, "-P", "-m", "agentgym.databases.server")


@dataclass(slots=True)
class _Loaded:
    """A template's world, or what becomes one. users: episodes that are being forked from it just now."""

    world: asyncio.Task[World]
    users: int = 0


class WorldHost:
    """See DatabaseHost."""

    def __init__(self, config: Worlds) -> None:
        self.config = config
        self._templates: OrderedDict[Template, _Loaded] = OrderedDict()
        self._living: set[World] = set()
        self._server: Server | None = None
        self._starting = asyncio.Lock()

    async def load(self, template: Template) -> None:
        """See DatabaseHost."""
        async with self._use(template):
            pass

    async def open(self, template: Template, access: Access = "read") -> World:
        """See DatabaseHost."""
        async with self._use(template) as world:
            return await world.fork(access)

    @asynccontextmanager
    async def _use(self, template: Template) -> AsyncIterator[World]:
        """A template's world, which stays while it is used."""
        loaded = self._templates.get(template)
        if loaded is None:
            loaded = self._templates[template] = _Loaded(asyncio.ensure_future(self._load(template)))
        self._templates.move_to_end(template)
        loaded.users += 1
        try:
            yield await asyncio.shield(loaded.world)
        except (EnvError, TaskError):  # whoever asks next may have more luck
            if self._templates.get(template) is loaded:
                await self._drop(template)
            raise
        finally:
            loaded.users -= 1
            await self._drop_unused()

    async def close(self) -> None:
        """End all worlds and the server; may be called twice."""
        for template in list(self._templates):
            await self._drop(template)
        await asyncio.gather(*(world.close() for world in list(self._living)))
        if self._server is not None:
            server, self._server = self._server, None
            await server.close()

    async def _load(self, template: Template) -> World:
        """A world in which nothing happens but forks."""
        async with self._starting:
            if self._server is None or self._server.dead:
                self._server = await Server.start(self.config)
        world = World(self.config, self._living)
        try:
            with world.other:
                self._server.begin(world.other)
            await world.greet()
            await world.load(template)
        except BaseException:
            await world.close()
            raise
        return world

    async def _drop_unused(self) -> None:
        while len(self._templates) > self.config.templates:
            unused = next((template for template, loaded in self._templates.items() if not loaded.users), None)
            if unused is None:
                return
            await self._drop(unused)  # meanwhile others may be used, or dropped

    async def _drop(self, template: Template) -> None:
        task = self._templates.pop(template).world
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await task.result().close()


class Server:
    """The process from which templates' worlds are forked."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control

    @classmethod
    async def start(cls, config: Worlds) -> Server:
        """Launch it, with nothing of this process's environment but where modules are."""
        settings = {"seconds": config.seconds, "memory": config.memory_mb << 20}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *COMMAND,
                    json.dumps(settings),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    env={
                        "PATH": os.defpath,
                        "LANG": "C.UTF-8",
                        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
                    },
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        return cls(process, ours)

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def begin(self, end: socket.socket) -> None:
        """Have it fork a process that serves the other end."""
        try:
            socket.send_fds(self._control, [b"!"], [end.fileno()])
        except OSError as error:
            raise EnvError(f"the databases' server is gone: {error.strerror}") from error

    async def close(self) -> None:
        """End it; worlds have sockets of their own."""
        self._control.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
