"""Tool `python`: a persistent code interpreter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentgym.sandbox import ExecResult, Sandbox, SandboxConfig
    from agentgym.services import Services

GONE = "variables and files are lost"


@dataclass(eq=False)
class Python:
    """Runs code in one sandbox session, opened by the first call, and answers with what it printed.

    timeout: seconds per call. max_chars: longest answer; its middle is left out.
    """

    services: Services
    sandbox: SandboxConfig
    timeout: float = 5.0
    max_chars: int = 400
    _session: Sandbox | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_chars < 100:
            raise ValueError(f"max_chars must be at least 100, not {self.max_chars}")

    @property
    def calls(self) -> int:
        """Programs run, as counted by the sandbox."""
        return self._session.calls if self._session is not None else 0

    async def __call__(self, argument: str) -> str:
        """Run the code in `argument`, fenced or not. Raises SandboxError, but never for the code's own faults."""
        if self._session is None:
            host = await self.services.get(self.sandbox)
            self._session = await host.session()
        result = await self._session.run(strip_fence(argument), self.timeout)
        return shorten(render(result, self.timeout), self.max_chars)

    async def fork(self) -> Python:
        """The same tool over a fork of the session."""
        twin = Python(self.services, self.sandbox, self.timeout, self.max_chars)
        if self._session is not None:
            twin._session = await self._session.fork()
        return twin

    async def close(self) -> None:
        """End the session; may be called twice. The count of calls stays."""
        if self._session is not None:
            await self._session.close()


def strip_fence(text: str) -> str:
    """The code between ```python and ```; the text itself when it does not begin with a fence."""
    if not text.lstrip().startswith("```"):
        return text
    lines = text.strip().split("\n")[1:]
    if lines and lines[-1].strip() == "```":
        lines.pop()
    return "\n".join(lines)


def render(result: ExecResult, timeout: float) -> str:
    """What the program printed, then how it failed; the last line names the error, as Python's own do."""
    endings = {
        "ok": "",
        "error": "",
        "oom": f"Interpreter restarted: {GONE}.",
        "timeout": f"TimeoutError: no result within {timeout:g} s; {GONE}.",
        "exited": f"SystemExit: the program left the interpreter; {GONE}.",
        "killed": f"ProcessError: the interpreter was killed; {GONE}.",
        "output_limit": f"OutputError: too much output; {GONE}.",
    }
    parts = [result.stdout, "" if result.status == "ok" else result.stderr, endings[result.status]]
    return "\n".join(part.strip("\n") for part in parts if part.strip("\n")) or "(no output)"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters: the first and the last half around a mark that counts what is missing."""
    if len(text) <= limit:
        return text
    half = (limit - 40) // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters left out) ...\n{text[-half:]}"
