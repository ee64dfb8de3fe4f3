"""The client's side of sessions on another machine."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import msgspec

from agentgym.errors import SandboxError
from agentgym.sandbox import ExecResult, Language, Protection, run_seconds
from agentgym.sandboxes.remote.client import Client
from agentgym.sandboxes.remote.wire import Limits
from agentgym.serving.token import find_token

if TYPE_CHECKING:
    from agentgym.sandboxes.http import Http

MEETING_SECONDS = 15.0
"""How long a server is waited for at first."""
MAX_PATH = 4096
BEATS = 3
"""How often a lease is renewed while it lasts."""
OPENINGS = 64
"""Sessions that are opened at once."""
CLOSING_SECONDS = 3.0
"""How long the end of a session or program is asked for; after that its lease or its timeout ends it."""


class HttpHost:
    """One server. Renews the leases of all its sessions until it is closed."""

    def __init__(self, config: Http) -> None:
        self.config = config
        token = find_token(config.token, config.token_env, config.token_file)
        # Apart, so that who waits for room on the server is not in the way of those who will make it.
        self.openings = Client(config.url, token, config.patience, OPENINGS)
        self.calls = Client(config.url, token, config.patience, config.max_connections)
        self.control = Client(config.url, token, config.patience, 8)
        self.sessions: set[HttpSession] = set()
        self._limits: Limits | None = None
        self._heart: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def description(self) -> str:
        """What it is, for a person."""
        return f"http, {self.config.url}"

    @property
    def limits(self) -> Limits:
        """What the server allows."""
        assert self._limits is not None, "started"
        return self._limits

    async def start(self) -> None:
        """Ask the server what it allows; raises SandboxError."""
        response = await self.control.send("GET", "/v1", patience=min(self.config.patience, MEETING_SECONDS))
        try:
            self._limits = msgspec.json.decode(response.content, type=Limits)
        except msgspec.MsgspecError as error:
            raise SandboxError(f"{self.config.url} is no sandbox server of agentgym: {error}") from error
        for name in ("lease", "timeout"):
            wanted, allowed = getattr(self.config, name), getattr(self._limits, f"max_{name}")
            if wanted > allowed:
                raise SandboxError(f"{name}={wanted:g}, but {self.config.url} allows {allowed:g} s")
        self._heart = asyncio.create_task(self._beat(), name="renew leases")

    async def session(self) -> HttpSession:
        """A fresh session; raises SandboxError."""
        return await self.make("/v1/sessions", self.openings)

    async def make(self, path: str, client: Client) -> HttpSession:
        """The session that a request to `path` makes. Its lease is renewed before we hear that it exists."""
        if self._closed:
            raise SandboxError("the sandbox host is closed")
        session = HttpSession(self, uuid4().hex)
        self.sessions.add(session)
        try:
            body = {"lease": self.config.lease}
            response = await client.send("POST", path, request_id=session.id, json=body)
        except BaseException:
            await session.close()
            raise
        session.calls = response.json()["calls"]
        return session

    async def protections(self) -> list[Protection]:
        """What the server's sandbox says of itself."""
        response = await self.control.send("GET", "/v1/protections")
        return msgspec.json.decode(response.content, type=list[Protection])

    async def close(self) -> None:
        """Close every session and the connections; may be called twice."""
        self._closed = True
        await asyncio.gather(*(session.close() for session in list(self.sessions)))
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait({self._heart})
        await asyncio.gather(self.openings.close(), self.calls.close(), self.control.close())

    async def _beat(self) -> None:
        pause = self.config.lease / BEATS
        while True:
            await asyncio.sleep(pause)
            ids = {"sessions": [session.id for session in self.sessions]}
            try:
                await self.control.send("POST", "/v1/renew", patience=pause, json=ids)
            except SandboxError:
                continue  # a session that is lost by this says so itself, in its next call


class HttpSession:
    """Implements `agentgym.sandbox.Sandbox`. A session that the server has lost raises SandboxError ever after.

    calls: programs run, as counted by the sandbox.
    """

    def __init__(self, host: HttpHost, id: str) -> None:
        self.id, self.calls = id, 0
        self._host = host
        self._closed = False

    async def run(
        self,
        code: str,
        timeout: float | None = None,
        *,
        language: Language = "python",
        output_limit: int | None = None,
    ) -> ExecResult:
        """Run `code`; a cancelled call ends the program. Raises SandboxError when the machinery failed."""
        timeout = run_seconds(timeout, self._host.config.timeout)
        body = {"code": code, "timeout": timeout, "language": language, "output_limit": output_limit}
        data = json.dumps(body).encode()  # in ASCII, so that any text goes through
        if len(data) > self._host.limits.max_body:
            raise SandboxError(f"a program of {len(data)} bytes; a request may have {self._host.limits.max_body}")
        call = uuid4().hex
        try:
            reply = (await self._send("POST", "/run", call, seconds=timeout, content=data)).json()
        except asyncio.CancelledError:
            await self._control("DELETE", f"/calls/{call}")
            raise
        self.calls = max(self.calls, reply.pop("calls"))
        return msgspec.convert(reply, ExecResult)

    async def write(self, path: str, data: bytes) -> None:
        """Put a file into the working directory; raises OSError."""
        if len(data) > self._host.limits.max_body:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        await self._send("PUT", "/file", uuid4().hex, content=data, params=named(path))

    async def read(self, path: str) -> bytes:
        """A regular file's content; raises OSError."""
        response = await self._send("GET", "/file", params=named(path))
        return response.content

    async def fork(self) -> HttpSession:
        """A second session in the same state; raises SandboxError as the server's sandbox does."""
        self._check_open()
        return await self._host.make(f"/v1/sessions/{self.id}/fork", self._host.calls)

    async def close(self) -> None:
        """End the session on the server; may be called twice. Failing that, its lease ends it."""
        self._closed = True
        if self in self._host.sessions:
            self._host.sessions.discard(self)
            await self._control("DELETE", "")

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the session is closed")

    async def _send(self, method: str, path: str, request_id: str = "", **options: Any) -> httpx.Response:
        self._check_open()
        url = f"/v1/sessions/{self.id}{path}"
        return await self._host.calls.send(method, url, request_id=request_id, **options)

    async def _control(self, method: str, path: str) -> None:
        patience = min(CLOSING_SECONDS, self._host.config.patience)
        try:
            await self._host.control.send(method, f"/v1/sessions/{self.id}{path}", patience=patience)
        except SandboxError:
            return  # the server is gone or has lost the session: what is left of it, its lease ends


def named(path: str) -> dict[str, str]:
    """A path as a query; raises OSError for one that no file can have."""
    if not path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    try:
        if len(path.encode()) > MAX_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    except UnicodeEncodeError as error:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path) from error
    return {"path": path}
