"""One container: its settings, its start, its end, and what became of one that died."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.errors import SandboxError
from agentgym.sandboxes.containers.daemon import NotThere, call
from agentgym.sandboxes.containers.gateway import PROTOCOL
from agentgym.sandboxes.containers.gateway_client import GatewayClient, Gone
from agentgym.sandboxes.containers.owner import LABEL, abandoned, owner

if TYPE_CHECKING:
    from agentgym.sandboxes.containers.daemon import Daemon
    from agentgym.sandboxes.docker import Docker

START_SECONDS = 60.0
DEATH_SECONDS = 2  # between a death and the news of it
AGENT_MB, AGENT_PROCESSES = 128, 256
"""What our own processes may take on top of the programs: two for each of many forks."""


def settings(config: Docker, daemon: Daemon) -> dict[str, Any]:
    """The container as the daemon's API wants it."""
    inside = ("timeout", "memory_mb", "disk_mb", "processes", "output_limit", "file_limit", "preload")
    memory = ((config.memory_mb + config.disk_mb) * config.sessions + AGENT_MB) << 20
    seccomp = (Path(__file__).parent.parent / "seccomp.json").read_text()
    limits = daemon.client.api.create_host_config(
        auto_remove=True,
        network_mode="none",
        read_only=True,
        tmpfs={"/dev/mqueue": "ro,size=4k,mode=0555"},  # the daemon's would be one for all sessions
        cap_drop=["ALL"],
        # docker's AppArmor profile forbids mounts, also in the namespaces of a session, where they harm nobody
        security_opt=["no-new-privileges", f"seccomp={seccomp}", "apparmor=unconfined"],
        mem_limit=memory,
        memswap_limit=memory,
        pids_limit=config.processes * config.sessions + AGENT_PROCESSES,
        nano_cpus=int(min(config.cpus * config.sessions, daemon.info["NCPU"]) * 1e9),
        log_config={"Type": "none"},
        runtime=daemon.runtime,
    )
    # A session may mount a /proc of its own only where a whole one is in sight; only the agent sees this one.
    limits.update(MaskedPaths=[], ReadonlyPaths=[])
    return {
        "image": config.image,
        "command": [json.dumps({name: getattr(config, name) for name in inside})],
        "host_config": limits,
        "labels": {LABEL: owner(os.getpid())},
        "stdin_open": True,
        "user": "65534:65534",
        "network_disabled": True,
    }


async def remove_abandoned(daemon: Daemon) -> None:
    """Remove the containers of hosts that have ended. Those of living ones, and of other machines, stay."""
    for found in await daemon.call("containers", all=True, filters={"label": LABEL}):
        if abandoned(found["Labels"][LABEL]):
            await remove(daemon, found["Id"])


async def remove(daemon: Daemon, id_: str) -> None:
    """Kill and remove a container; returns when it is gone, however it went."""
    try:
        await daemon.call("remove_container", id_, force=True, v=True)
    except NotThere:
        return
    except SandboxError as error:
        if "already in progress" not in str(error):
            raise
        try:
            await daemon.call("wait", id_, condition="removed")
        except NotThere:
            return


class Overdue(Gone):
    """There was no reply in time, and the container has been killed for it."""


class Container:
    """A running container and the connection to its gateway. sessions: how many live in it."""

    def __init__(self, daemon: Daemon, id_: str, client: GatewayClient) -> None:
        self.id = id_
        self.sessions = 0
        self._numbers = itertools.count(1)
        self._daemon = daemon
        self._client = client
        self._began = int(time.time())
        self._removed = False

    @classmethod
    async def start(cls, config: Docker, daemon: Daemon) -> Container:
        """Create and start one, and wait for its gateway; raises SandboxError and leaves nothing.

        Not to be cancelled: the daemon would go on.
        """
        id_ = (await daemon.call("create_container", **settings(config, daemon)))["Id"]
        try:
            client = GatewayClient(*await daemon.attach(id_))
            container = cls(daemon, id_, client)
            try:
                await daemon.call("start", id_)
                await container._greet()
            except BaseException:
                await client.close()
                raise
        except BaseException:
            await remove(daemon, id_)
            raise
        return container

    async def _greet(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                greeting = await self._client.greeting()
        except TimeoutError as error:
            raise SandboxError(f"a container's gateway was not ready after {START_SECONDS:g} s") from error
        except Gone as error:
            raise SandboxError(f"a container's gateway did not start: {error}") from error
        if greeting != {"id": 0, "ok": {"protocol": PROTOCOL}}:
            raise SandboxError("the image has another version of agentgym; build it again")

    def admit(self) -> int:
        """One more session; its number."""
        self.sessions += 1
        return next(self._numbers)

    @property
    def dead(self) -> str:
        """Why it can serve no more; empty while it can."""
        return self._client.ended

    async def ask(self, do: str, seconds: float, reply_limit: int = 0, /, **fields: Any) -> dict[str, Any]:
        """A request to the gateway. Raises what was raised inside; Gone when the container has ended; Overdue."""
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await self._client.ask(do, reply_limit, fields)
        except TimeoutError as error:
            if not deadline.expired():
                raise  # the session's own
            await self.close()
            raise Overdue(f"no reply to {do!r} within {seconds:g} s") from error

    async def out_of_memory(self) -> bool:
        """Whether one that died was killed for want of memory; raises SandboxError when the daemon cannot tell.

        Its events do: a container is removed as soon as it has ended, and what the daemon knew of it as well.
        """
        until = int(time.time()) + DEATH_SECONDS
        filters = {"container": self.id, "event": "oom"}
        events = self._daemon.client.api.events
        return bool(await call(lambda: list(events(self._began, until, filters))))

    async def close(self) -> None:
        """Kill and remove it; may be called twice."""
        await self._client.close()
        if not self._removed:
            self._removed = True
            await remove(self._daemon, self.id)
