"""The gateway: the first process of a container. It keeps a `local` sandbox in it and speaks for its sessions.

Requests come on stdin, replies go to stdout; both are frames, four bytes of length (big-endian) and a JSON object.
A request has an id and what to `do`, and many may be under way:

    {"id": 1, "do": "open", "session": 1}                     {"id": 1, "ok": {}}
    {"id": 2, "do": "run", "session": 1, "code": "1 + 1", ...}  {"id": 2, "ok": {"stdout": "2\\n", ...}}
    {"id": 3, "do": "read", "session": 1, "path": "nothing"}  {"id": 3, "error": "os", "errno": 2, "message": ...}

The host picks the numbers of sessions. The first frame has id 0 and tells the protocol's version. The end of
stdin ends it all. No program's code runs in this process, which needs the standard library and `local` only.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from agentgym.errors import SandboxError
from agentgym.sandbox import Language
from agentgym.sandboxes.hosting.session import LocalSession
from agentgym.sandboxes.local import Local, LocalHost

PROTOCOL = 1
HEAD = 4
OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")  # cgroup v2, v1


def frame(message: dict[str, Any]) -> bytes:
    """A message with its length before it."""
    data = json.dumps(message).encode()
    return len(data).to_bytes(HEAD, "big") + data


def oom_kills() -> int:
    """Processes that the kernel has killed in this container for want of memory."""
    for path in OOM_COUNTERS:
        if Path(path).is_file():
            found = re.search(r"^oom_kill (\d+)$", Path(path).read_text(), re.MULTILINE)
            return int(found[1]) if found else 0
    return 0


class Gateway:
    """What a host may ask for: the methods named `do_...`."""

    def __init__(self, host: LocalHost, output: asyncio.StreamWriter) -> None:
        self.host = host
        self.output = output
        self.sessions: dict[int, LocalSession] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def serve(self, requests: asyncio.StreamReader) -> None:
        """Answer until the host's end closes."""
        self.send({"id": 0, "ok": {"protocol": PROTOCOL}})
        while True:
            try:
                size = int.from_bytes(await requests.readexactly(HEAD), "big")
                request = json.loads(await requests.readexactly(size))
            except asyncio.IncompleteReadError:
                return
            if request["do"] == "cancel":
                if request["request"] in self.tasks:
                    self.tasks[request["request"]].cancel()
            else:
                self.tasks[request["id"]] = asyncio.ensure_future(self.answer(**request))
                await asyncio.sleep(0)  # it begins, so that it replies even when it is cancelled at once

    async def answer(self, id: int, do: str, **fields: Any) -> None:
        """Do what a request asks for, and reply."""
        reply: dict[str, Any]
        try:
            reply = {"ok": await getattr(self, f"do_{do}")(**fields)}
        except asyncio.CancelledError:
            reply = {"error": "sandbox", "message": "cancelled"}
        except SandboxError as error:
            reply = {"error": "sandbox", "message": str(error)}
        except OSError as error:
            reply = {"error": "os", "errno": error.errno, "message": error.strerror or str(error)}
        del self.tasks[id]
        self.send({"id": id, **reply})

    def send(self, message: dict[str, Any]) -> None:
        """A frame to the host. What waits here is bounded by the requests under way."""
        self.output.write(frame(message))

    async def do_open(self, session: int) -> dict[str, Any]:
        """A fresh session."""
        self.sessions[session] = await self.host.session()
        return {}

    async def do_fork(self, session: int, twin: int) -> dict[str, Any]:
        """Branch a session."""
        self.sessions[twin] = await self.sessions[session].fork()
        return {}

    async def do_run(
        self, session: int, code: str, timeout: float, language: Language, output_limit: int
    ) -> dict[str, Any]:
        """Run a program. Whether the kernel killed it for want of memory is told by the container's counter."""
        before = oom_kills()
        running = self.sessions[session].run(code, timeout, language=language, output_limit=output_limit)
        result = await running
        if result.status == "killed" and oom_kills() > before:
            result = dataclasses.replace(result, status="oom")
        return dataclasses.asdict(result)

    async def do_write(self, session: int, path: str, data: str) -> dict[str, Any]:
        """Put a file into a session; data is base64."""
        await self.sessions[session].write(path, base64.b64decode(data))
        return {}

    async def do_read(self, session: int, path: str) -> dict[str, Any]:
        """A file of a session, as base64."""
        return {"data": base64.b64encode(await self.sessions[session].read(path)).decode()}

    async def do_close(self, session: int) -> dict[str, Any]:
        """End a session."""
        if session in self.sessions:  # a fork that was given up may have left it or not
            await self.sessions.pop(session).close()
        return {}


async def main() -> None:
    """Serve the host at stdin and stdout; argv[1]: the fields of `Local`, as JSON."""
    loop = asyncio.get_running_loop()
    requests = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    try:
        host = await Local(walls="container", **json.loads(sys.argv[1])).open()
    except SandboxError as error:
        sys.exit(str(error.__cause__ or error))  # without its advice, which is for sandboxes on the machine itself
    try:
        await Gateway(host, asyncio.StreamWriter(transport, protocol, None, loop)).serve(requests)
    finally:
        await host.close()


if __name__ == "__main__":
    asyncio.run(main())
