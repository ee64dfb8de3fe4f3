"""The sandbox contract: a live Python session that runs code the policy wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Status = Literal["ok", "error", "exited", "timeout", "oom", "killed", "output_limit"]
"""How a run ended, as seen from outside: finished, raised, left the interpreter, hit the deadline, ran out of
memory, was killed, or wrote too much. After all but the first two the session is gone; the next `run` starts
a new one with empty state and says so in `ExecResult.restarted`."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """stdout, stderr: decoded, each capped. seconds: wall time. calls: runs counted by the session's host."""

    stdout: str
    stderr: str
    status: Status
    seconds: float = 0.0
    restarted: bool = False


class Forkable(Protocol):
    """Something whose state can branch."""

    async def fork(self) -> Forkable:
        """A second one in the same state; afterwards neither sees the other's writes."""
        ...


class Sandbox(Protocol):
    """One session. Raises SandboxError when the machinery failed; what the code did wrong is in the result."""

    @property
    def calls(self) -> int:
        """Programs run in this session, counted outside of it."""
        ...

    async def run(self, code: str, timeout: float | None = None) -> ExecResult:
        """Run `code` in the session's namespace. `timeout` in seconds of wall time; None: the config's."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Put a file into the session's working directory."""
        ...

    async def read(self, path: str) -> bytes:
        """A file from the session's working directory."""
        ...

    async def fork(self) -> Sandbox:
        """A second session in the same state."""
        ...

    async def close(self) -> None:
        """Kill everything the session started; may be called twice."""
        ...


class SandboxHost(Protocol):
    """What sessions share: a fork server, a container daemon's client."""

    async def session(self) -> Sandbox: ...

    async def close(self) -> None: ...


class SandboxConfig(Protocol):
    """A frozen dataclass in `agentgym/sandboxes/`; a service config, shared by equality."""

    async def open(self) -> SandboxHost: ...
