"""The sandbox contract: a live session that runs code the policy wrote, and that branches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from agentgym.errors import SandboxError

Language = Literal["python", "bash", "node"]
"""`python` runs in the session's live interpreter; the others as a process of their own in its working
directory, where the sandbox has them."""

Status = Literal["ok", "error", "exited", "timeout", "oom", "killed", "output_limit"]
"""How a run ended, as seen from outside: finished, raised, left the interpreter, hit the deadline, ran out of
memory, was killed, or wrote too much. After all but the first two the session is gone; the next `run` starts
a new one with empty state and says so in `ExecResult.restarted`."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """stdout, stderr: decoded, each capped. seconds: wall time. restarted: this run began with empty state,
    because the one before had ended the session."""

    stdout: str
    stderr: str
    status: Status
    seconds: float = 0.0
    restarted: bool = False


def run_seconds(timeout: float | None, default: float) -> float:
    """How long a run may take; raises SandboxError unless that is a number above 0."""
    seconds = default if timeout is None else timeout
    if not 0 < seconds < math.inf:
        raise SandboxError(f"timeout: {seconds:g} s; it must be a number of seconds above 0")
    return seconds


def check_size(path: str, size: int, limit: int) -> None:
    """Raises OSError for a file of more than `limit` bytes."""
    if size > limit:
        raise OSError(f"{path}: {size} bytes; a file may have {limit} here")


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

    async def run(
        self,
        code: str,
        timeout: float | None = None,
        *,
        language: Language = "python",
        output_limit: int | None = None,
    ) -> ExecResult:
        """Run `code` in the session. timeout: seconds of wall time. output_limit: bytes per stream. None: the
        config's. Raises SandboxError for a language that the sandbox lacks, and for a timeout that is none."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Put a file into the session's working directory."""
        ...

    async def read(self, path: str) -> bytes:
        """A file from the session's working directory."""
        ...

    async def fork(self) -> Sandbox:
        """A second session in the same state: variables, open files, working directory, random numbers, files.

        Raises SandboxError, saying why, when it cannot be made exactly (a running thread or process, an open pipe,
        shared memory); the session itself goes on.
        """
        ...

    async def close(self) -> None:
        """Kill everything the session started; may be called twice."""
        ...


class SandboxHost(Protocol):
    """What sessions share: a fork server, a container daemon's client."""

    @property
    def description(self) -> str:
        """What it is, in a line for a person."""
        ...

    async def session(self) -> Sandbox: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Protection:
    """One wall around the policy's code, as found by trying. detail: what it is, or why it does not hold here."""

    name: str
    holds: bool
    detail: str


class SandboxConfig(Protocol):
    """A frozen dataclass in `agentgym/sandboxes/`; a service config, shared by equality."""

    async def open(self) -> SandboxHost:
        """Raises SandboxError when the sandbox cannot be had, or only weaker than asked for."""
        ...

    async def protections(self) -> list[Protection]:
        """A row per protection; raises SandboxError when the sandbox cannot be had at all."""
        ...
