"""Sessions over a stateless server: a log, and a replay of it for every call."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Language, Protection, run_seconds
from agentgym.sandboxes.fusion.run import Ran, read_run
from agentgym.sandboxes.remote.client import Client

if TYPE_CHECKING:
    from agentgym.sandboxes.sandbox_fusion import SandboxFusion

REPLAY = "".join(
    f"exec(compile({Path(__file__).parent.joinpath(file).read_text(encoding='utf-8')!r}, 'replay', 'exec'))\n"
    for file in ("../inside/programs.py", "replay.py")
)
"""Each file is compiled alone, for it begins with an import from `__future__`."""
CAPTURED = (1 << 20) - 4096
"""Bytes of a stream that the server keeps, but for what marks the place."""
STARTUP = 1.0
"""Seconds for the server to start an interpreter."""


class FusionHost:
    """The connections to one server."""

    def __init__(self, config: SandboxFusion) -> None:
        self.config = config
        self.client = Client(config.url, "", config.patience, config.max_connections)
        self.closed = False

    @property
    def description(self) -> str:
        """What it is, for a person."""
        return f"SandboxFusion, {self.config.url}; sessions are replayed"

    async def session(self) -> FusionSession:
        """A fresh session, of which the server hears with its first call."""
        return FusionSession(self)

    async def close(self) -> None:
        """May be called twice."""
        self.closed = True
        await self.client.close()

    async def replay(self, steps: list[dict[str, Any]], timeout: float, fetch: list[str]) -> Ran:
        """Run all steps; what the last one did. Raises SandboxError when the machinery or the replay failed."""
        if self.closed:
            raise SandboxError("the sandbox host is closed")
        nonce, seconds = uuid4().hex, timeout + STARTUP + 2 * sum(step["seconds"] for step in steps[:-1])
        file = f".steps-{nonce}.json"
        body = {
            "language": "python",
            "code": f"{REPLAY}main({nonce!r}, {file!r})\n",
            "run_timeout": seconds,
            "memory_limit_MB": self.config.memory_mb,
            "files": {file: base64.b64encode(json.dumps(steps).encode()).decode()},
            "fetch_files": fetch,
        }
        response = await self.client.send("POST", "/run_code", seconds=seconds, json=body)
        try:
            answer = response.json()
            status, outcome = answer["status"], answer["run_result"]
            if status == "SandboxError" or outcome is None:
                raise SandboxError(f"{self.config.url}: {answer['message'] or 'the program was not run'}")
            return read_run(nonce, outcome, answer.get("files") or {})
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"{self.config.url} does not speak SandboxFusion's API: {error!r}") from error


class FusionSession:
    """Implements `agentgym.sandbox.Sandbox`. Calls of one session run one after the other."""

    def __init__(self, host: FusionHost) -> None:
        self.calls = 0
        self._host = host
        self._log: list[dict[str, Any]] = []
        self._lost = self._closed = False
        self._lock = asyncio.Lock()

    async def run(
        self,
        code: str,
        timeout: float | None = None,
        *,
        language: Language = "python",
        output_limit: int | None = None,
    ) -> ExecResult:
        """Run `code` after everything before it. Raises SandboxError when the machinery failed."""
        config = self._host.config
        timeout = run_seconds(timeout, config.timeout)
        limit = config.output_limit if output_limit is None else min(output_limit, CAPTURED)
        async with self._lock:
            self._check_open()
            step = {"language": language, "code": code}
            ran = await self._host.replay([*self._log, step], timeout, [])
            if ran.reply is not None and ran.reply.status == "absent":
                raise SandboxError(f"{config.url} has no {language}")
            self.calls += 1
            restarted, self._lost = self._lost, False
            written = [text.encode() for text in (ran.stdout, ran.stderr)]
            status = "output_limit" if max(map(len, written)) > limit else ran.status
            if status in ("ok", "error"):
                self._log.append({**step, "status": status, "seconds": ran.seconds})
            else:
                self._log, self._lost = [], True
        stdout, stderr = (data[:limit].decode(errors="replace") for data in written)
        return ExecResult(stdout, stderr, status, ran.seconds, restarted)

    async def write(self, path: str, data: bytes) -> None:
        """Put a file into the working directory; raises OSError."""
        step = {"path": path, "data": base64.b64encode(data).decode()}
        async with self._lock:
            ran = await self._file(step, [])
            self._log.append({**step, "status": "ok", "seconds": ran.seconds})

    async def read(self, path: str) -> bytes:
        """A regular file's content; raises OSError."""
        async with self._lock:
            ran = await self._file({"path": path}, [path])
        if path not in ran.files:
            raise OSError(f"{path}: the server sent no file")
        return base64.b64decode(ran.files[path])

    async def fork(self) -> FusionSession:
        """A second session with a copy of the log: the same state, as far as a replay is exact."""
        self._check_open()
        async with self._lock:
            twin = FusionSession(self._host)
            twin.calls, twin._log, twin._lost = self.calls, list(self._log), self._lost
        return twin

    async def close(self) -> None:
        """Nothing of it is anywhere but here; may be called twice."""
        self._closed = True

    async def _file(self, step: dict[str, Any], fetch: list[str]) -> Ran:
        self._check_open()
        ran = await self._host.replay([*self._log, step], self._host.config.timeout, fetch)
        if ran.reply is not None and ran.reply.status == "os":
            raise OSError(ran.reply.errno, os.strerror(ran.reply.errno), step["path"])
        if ran.reply is None or ran.reply.status != "ok":
            raise SandboxError(f"{step['path']}: the server ended the session instead: {ran.stderr[-200:]}")
        return ran

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the session is closed")


PROBE = """
import os
try: held = not bytearray(4 << 30)
except MemoryError: held = True
print(os.getuid(), len(os.environ), held)
"""


async def probe(host: FusionHost) -> list[Protection]:
    """A row per protection, by a program that tries."""
    session = await host.session()
    found = await session.run(PROBE)
    if found.status != "ok":
        raise SandboxError(f"the probe ended as {found.status}: {found.stderr[-200:]}")
    user, variables, held = found.stdout.split()
    endless = await session.run("while True: pass", 0.5)
    return [
        Protection("deadline", endless.status == "timeout", f"an endless loop ends as {endless.status}"),
        Protection("user", user != "0", f"programs run as user {user} of the server"),
        Protection("memory", held == "True", f"4 GiB at once are {'refused' if held == 'True' else 'given'}"),
        Protection("environment", False, f"programs see {variables} variables, which may be the server's own"),
        Protection("exact forks", False, "by replay, which is exact for deterministic programs only"),
        Protection("honest results", False, "the program shares a process with what reports on it"),
    ]
