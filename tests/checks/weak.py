"""Sandbox `Weak`: no protection at all. A bare interpreter as its host's user, trusted blindly."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Language, Protection, Status

MOST_READ = 1 << 30

WORKER = """
import sys
sessions = {}
for line in sys.stdin:
    import json, traceback
    request = json.loads(line)
    if "copy" in request:
        sessions[request["session"]] = dict(sessions.get(request["copy"], {}))
        continue
    code = compile(request["code"], "<program>", "exec")
    try:
        exec(code, sessions.setdefault(request["session"], {}))
    except Exception:
        traceback.print_exc()
    print("\\n--done")
"""


@dataclass(frozen=True)
class Weak:
    """apart: an interpreter for each session, and forks by replay."""

    apart: bool = False

    async def open(self) -> WeakHost:
        """Start the interpreter."""
        return WeakHost(self.apart)

    async def protections(self) -> list[Protection]:
        """One that it says it lacks; of the others it says nothing."""
        return [Protection("network", False, "it has the host's")]


class WeakHost:
    """The interpreter, the folder that all sessions share, and the files that it writes its output to."""

    def __init__(self, apart: bool) -> None:
        self.folder = tempfile.mkdtemp(prefix="agentgym-weak-")
        self.out, self.err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        self.lock = asyncio.Lock()
        self.apart = apart
        self.sessions: list[WeakSession] = []
        self.start()

    def start(self) -> None:
        """Start the interpreter."""
        words = [sys.executable, "-u", "-c", WORKER]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=self.out, stderr=self.err, cwd=self.folder)

    async def session(self) -> WeakSession:
        """A number, and with `apart` an interpreter."""
        self.sessions.append(WeakSession(WeakHost(False) if self.apart else self, len(self.sessions), self))
        return self.sessions[-1]

    def send(self, request: dict[str, object]) -> None:
        """A line to the interpreter; a new one, if it is dead."""
        if self.process.poll() is not None:
            self.stop()
            self.start()
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(request)}\n".encode())
        self.process.stdin.flush()

    def stop(self) -> None:
        """Kill the interpreter, and nothing that it started."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def close(self) -> None:
        """Delete the folder."""
        if not self.out.closed:
            self.stop()
            self.out.close()
            self.err.close()
            for session in self.sessions:
                await session.host.close()
            await asyncio.to_thread(shutil.rmtree, self.folder)


class WeakSession:
    """A dictionary in the interpreter."""

    def __init__(self, host: WeakHost, number: int, owner: WeakHost) -> None:
        self.host, self.number, self.owner, self.calls = host, number, owner, 0
        self.log: list[str] = []

    async def run(
        self,
        code: str,
        timeout: float | None = None,
        *,
        language: Language = "python",
        output_limit: int | None = None,
    ) -> ExecResult:
        """Believes whatever the interpreter writes, and that exit status 0 means done."""
        host = self.host
        async with host.lock:
            self.calls += 1
            self.log.append(code)
            out, err = os.fstat(host.out.fileno()).st_size, os.fstat(host.err.fileno()).st_size
            host.send({"session": self.number, "code": code})
            status: Status = "ok"
            try:
                async with asyncio.timeout(timeout):
                    await self._done(out)
            except TimeoutError:
                host.stop()
                status = "timeout"
            stdout, stderr = text(host.out, out), text(host.err, err)
        if status == "ok" and host.process.poll():
            raise SandboxError(f"the interpreter died: {stderr[-200:]}")
        if "Traceback (most recent call last)" in stderr:
            status = "error"
        return ExecResult(stdout.removesuffix("\n--done\n"), stderr, status)

    async def _done(self, start: int) -> None:
        """Until a run's last line is written, or the interpreter is gone."""
        file = self.host.out.fileno()
        while self.host.process.poll() is None:
            end = os.fstat(file).st_size
            if b"\n--done\n" in os.pread(file, 64, max(start, end - 64)):
                return
            await asyncio.sleep(0.005)

    async def write(self, path: str, data: bytes) -> None:
        """To wherever it leads."""
        await asyncio.to_thread(Path(self.host.folder, path).write_bytes, data)

    async def read(self, path: str) -> bytes:
        """Whatever is there; a gigabyte, to spare the tests' machine."""
        descriptor = os.open(Path(self.host.folder, path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(descriptor, MOST_READ)
        finally:
            os.close(descriptor)

    async def fork(self) -> WeakSession:
        """A second dictionary with the same values."""
        twin = await self.owner.session()
        if self.owner.apart:
            for code in self.log:
                await twin.run(code)
        else:
            self.host.send({"session": twin.number, "copy": self.number})
        return twin

    async def close(self) -> None:
        """Nothing."""


def text(file: IO[bytes], start: int) -> str:
    """All that was written since."""
    size = os.fstat(file.fileno()).st_size - start
    return os.pread(file.fileno(), size, start).decode("utf-8", "surrogateescape")
