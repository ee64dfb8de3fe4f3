"""What an attack must not reach, on the host for as long as the attacks go on: a secret in many places."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import agentgym
from agentgym.checks.harness import expect

VARIABLE = "AGENTGYM_CANARY"
SECONDS = 20.0

PROCESS = """
import signal, sys, tempfile
secret = sys.stdin.readline().strip()
file = tempfile.TemporaryFile()
file.write(secret.encode())
file.flush()
for number in (signal.SIGURG, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: print(number, flush=True))
print(file.fileno(), flush=True)
sys.stdin.read()
"""
"""Holds the secret in its memory, its environment, its command line and an open file that has no name; writes a
line for each signal it gets; ends with the host."""


@dataclass
class Canary:
    """secret: what is to be found nowhere. heard: whatever arrived at the listening sockets. facts: what attacks
    may know."""

    secret: str
    folder: Path
    process: asyncio.subprocess.Process
    facts: dict[str, Any] = field(default_factory=dict)
    heard: list[bytes] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, data: bytes) -> None:
        """Something arrived."""
        self.heard.append(data)
        self.news.set()

    def alive(self) -> bool:
        """The host's process is neither dead nor stopped nor traced."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text() if self.process.returncode is None else ""
        return stat.rpartition(")")[2][1:2] in ("S", "R")

    async def signalled(self) -> bool:
        """Whether the host's process has got a signal by now."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(0.3):
                return bool(await self.process.stdout.readline())
        except TimeoutError:
            return False

    async def listens(self) -> None:
        """Raise Broken unless all listening sockets hear the host itself."""
        words = [f"{kind}-{uuid4().hex}".encode() for kind in ("tcp", "udp", "unix")]
        await asyncio.to_thread(self._knock, *words)
        async with asyncio.timeout(SECONDS):
            while not all(word in self.heard for word in words):
                self.news.clear()
                await self.news.wait()

    def _knock(self, tcp: bytes, udp: bytes, unix: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.facts["tcp"]), SECONDS) as stream:
            stream.sendall(tcp)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            datagram.sendto(udp, ("127.0.0.1", self.facts["udp"]))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
            local.sendto(unix, b"\0" + self.facts["unix"].encode())


class Ear(asyncio.DatagramProtocol):
    """Passes datagrams on."""

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self.hear = hear

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """One of them."""
        self.hear(data)


@asynccontextmanager
async def set_out() -> AsyncIterator[Canary]:
    """The secret in a file, an environment variable, a process and behind sockets."""
    secret = f"canary-{uuid4().hex}"
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder(secret))
        os.environ[VARIABLE] = secret
        stack.callback(os.environ.pop, VARIABLE)
        process = await _process(secret, stack)
        canary = Canary(secret, folder, process)
        await _sockets(canary, stack)
        assert process.stdout is not None
        canary.facts |= {
            "pid": process.pid,
            "descriptor": int(await process.stdout.readline()),
            "pid_namespace": os.readlink("/proc/self/ns/pid"),
            "folder": str(folder),
            "home": str(Path.home()),
            "package": str(Path(agentgym.__file__).parent),
            "variable": VARIABLE,
        }
        await canary.listens()
        expect(canary.alive(), "the host's own process did not start")
        yield canary


@contextmanager
def _folder(secret: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agentgym-canary-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "secret").write_text(secret)
        yield folder


async def _process(secret: str, stack: AsyncExitStack) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    words = [sys.executable, "-c", PROCESS, secret]
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.communicate()

    stack.push_async_callback(end)
    assert process.stdin is not None
    process.stdin.write(f"{secret}\n".encode())
    await process.stdin.drain()
    return process


async def _sockets(canary: Canary, stack: AsyncExitStack) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        canary.hear(await reader.read(256))
        writer.write(canary.secret.encode())
        writer.close()

    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    stack.callback(server.close)
    name = f"agentgym-{uuid4().hex}"
    local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    local.bind(f"\0{name}")
    local.setblocking(False)
    udp, _ = await loop.create_datagram_endpoint(lambda: Ear(canary.hear), ("127.0.0.1", 0))
    unix, _ = await loop.create_datagram_endpoint(lambda: Ear(canary.hear), sock=local)
    stack.callback(udp.close)
    stack.callback(unix.close)
    port = udp.get_extra_info("sockname")[1]
    canary.facts |= {"tcp": server.sockets[0].getsockname()[1], "udp": port, "unix": name}
