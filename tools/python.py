"""Tool `python`: a persistent code interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from agentgym.ranges import above, at_least
from agentgym.tool import Limits, ToolContext

if TYPE_CHECKING:
    from agentgym.sandbox import ExecResult

GONE = "variables and files are lost"
SLACK = 60.0
"""Seconds that opening a session may take besides."""


@dataclass(frozen=True, slots=True)
class Python:
    """Runs code in the episode's sandbox session. All state is the session's, so calls come one after the other.

    timeout: seconds per call. max_chars: longest answer; its middle is left out.
    """

    stateless: ClassVar[bool] = True
    ordered: ClassVar[bool] = True
    examples: ClassVar = [{"code": f"seen = [*globals().get('seen', []), {n}]\nprint(seen)"} for n in range(3)]

    timeout: float = 5.0
    max_chars: int = 400

    def __post_init__(self) -> None:
        above(self, 0, "timeout")
        at_least(self, 100, "max_chars")

    @property
    def limits(self) -> Limits:
        """The session sees to `timeout` itself: a program that is late is told so, and the episode goes on."""
        return Limits(timeout=self.timeout + SLACK)

    async def __call__(self, code: str, context: ToolContext) -> str:
        """Run Python code in a session whose variables and files stay from call to call, and see what it prints.
        The value of a last line that is an expression is printed as well.

        Args:
            code: The program.
        """
        session = await context.sandbox()
        result = await session.run(strip_fence(code), self.timeout)
        return shorten(render(result, self.timeout), self.max_chars)


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
