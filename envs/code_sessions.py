"""The two sessions of a grading: one that holds the program, one where the tests run."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentgym.envs.code_tests import CallTests
    from agentgym.sandbox import ExecResult, Sandbox, SandboxHost

Answer = tuple[str, str | None]
"""A call, and what came of it."""
OUTPUT_LIMIT = 1 << 20
"""Bytes that all results of one run may have."""


def _inside(name: str) -> str:
    """A program that defines what `inside/values.py` and another file there do. It compiles text itself: a session
    may make a syntax tree of a program first, which takes longer than all else."""
    folder = Path(__file__).with_name("inside")
    texts = [(folder / f"{file}.py").read_text(encoding="utf-8") for file in ("values", name)]
    return "".join(f"exec(compile({text!r}, 'inside', 'exec', dont_inherit=True))\n" for text in texts)


CANDIDATE, REPLAY, STREAMS = map(_inside, ("candidate", "replay", "streams"))


@dataclass
class ProgramSession:
    """A session that holds the program and is asked for what it makes of inputs. What comes back is hostile text,
    at most one for each question.

    seconds: what is left of its time. note: why it does not answer any more.
    """

    session: Sandbox
    seconds: float
    note: str = field(default="", init=False)

    async def load(self, given: str, program: str, calls: list[str]) -> list[str | None]:
        """Run `given` and the program, then ask for the outcome of each call."""
        return await self._ask(
            f"{CANDIDATE}candidate = Candidate({given!r}, {program!r})\ncandidate.answer", [calls]
        )

    async def call(self, call: str) -> str | None:
        """The outcome of one more call."""
        (outcome,) = await self._ask("candidate.answer", [[call]])
        return outcome

    async def read(self, program: str, inputs: list[str]) -> list[str | None]:
        """What the program, started anew each time, makes of each input."""
        return await self._ask(f"{STREAMS}answer", [inputs, program])

    async def _ask(self, code: str, arguments: list[Any]) -> list[str | None]:
        texts: list[str | None] = [None] * len(arguments[0])
        if self.note:
            return texts
        nonce = secrets.token_hex(16)
        request = f"{code}({nonce!r}, {', '.join(map(repr, arguments))})"
        result = await self.session.run(request, self.seconds, output_limit=OUTPUT_LIMIT)
        self.seconds -= result.seconds
        for index, text in _marked(result.stdout, nonce):
            if index.isdecimal() and len(index) < 9 and int(index) < len(texts):
                texts[int(index)] = text
        if result.status != "ok" or self.seconds <= 0:
            self.note = _why(result)
        return texts


@dataclass
class GraderSessions:
    """Sessions for the tests, used again and again: no program that is graded gets there."""

    host: SandboxHost
    timeout: float
    _idle: list[Sandbox] = field(default_factory=list, init=False)

    async def replay(self, tests: CallTests, answers: list[Answer] | None) -> dict[str, Any] | None:
        """The report of `inside/replay.py`; None when it does not come, twice: a session may have died of
        something else."""
        nonce = secrets.token_hex(16)
        request = f"replay({nonce!r}, {tests.given!r}, {tests.tests!r}, {list(tests.names)!r}, {answers!r})"
        for _ in range(2):
            async with self._session() as session:
                result = await session.run(request, self.timeout, output_limit=OUTPUT_LIMIT)
                reports = [text for _, text in _marked(result.stdout, nonce)]
                if result.status == "ok" and reports:
                    self._idle.append(session)
                    report: dict[str, Any] = json.loads(reports[0])
                    return report
        return None

    async def close(self) -> None:
        """End the sessions; may be called twice."""
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Sandbox]:
        """A session that is closed afterwards, unless it is put back."""
        session = self._idle.pop() if self._idle else await self.host.session()
        try:
            if not session.calls:
                await session.run(REPLAY)
            yield session
        finally:
            if session not in self._idle:
                await session.close()


def _marked(stdout: str, nonce: str) -> list[tuple[str, str]]:
    """Index and text of the lines that begin with the nonce."""
    lines = (line.split(" ", 2) for line in stdout.split("\n"))
    return [(line[1], line[2]) for line in lines if len(line) == 3 and line[0] == nonce]


def _why(result: ExecResult) -> str:
    """How the program stopped answering."""
    last = result.stderr.strip().splitlines()[-1:]
    return f"the program ended with {result.status}" + (f": {last[0][:200]}" if last else "")
