"""Does this program pass its tests? Decided apart from it: the program's session sees inputs and nothing else.

What the tests call is answered by the program in a session of its own; what it said is data, bounded and typed,
and goes into the session where the tests run. Which calls they make whatever the answers is learnt once a task, so
that a program gets these all at once; a call that depends on an answer is passed on when it comes.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from math import isclose, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from agentgym.envs.code_sessions import Answer, GraderSessions, ProgramSession
from agentgym.envs.code_tests import CallTests, StreamTests, Tests
from agentgym.envs.grading import Verdict
from agentgym.errors import JudgeError

if TYPE_CHECKING:
    from agentgym.sandbox import SandboxConfig, SandboxHost

REMEMBERED = 4096
"""Tasks whose calls are known."""
CLOSE = 1e-6
"""How far a printed decimal may be off, absolutely below 1 and relatively above."""


@dataclass(frozen=True, slots=True)
class Score(Verdict):
    """right: every case holds, and the tests came to their end. passed: cases that hold, of `cases`."""

    passed: int = 0
    cases: int = 0

    @property
    def fraction(self) -> float:
        """The share of cases that hold; below 1 unless `right`."""
        return 1.0 if self.right else max(0, min(self.passed, self.cases - 1)) / max(self.cases, 1)


class Record(NamedTuple):
    """What is known of a task. calls: those that depend on no answer, so that a program may get all of them at
    once and learns nothing from it. objects: calls that the reference solution answers with an object of its own;
    None for the reference itself, which may. cases: as it has them; 0 without one."""

    calls: list[str]
    objects: frozenset[str] | None
    cases: int

    def admit(self, call: str, text: str | None) -> Answer:
        """An object of the program's own is an answer only where the reference solution gives one."""
        trusted = self.objects is None or call in self.objects or not _is_object(text)
        return call, text if trusted else None


@dataclass(frozen=True, slots=True)
class CodeGraders:
    """A service: sessions for programs and for tests, on a sandbox host of its own.

    timeout: seconds for all of a program's cases together, and for one run of the tests; a program whose tests
    are not through after twice as long fails. at_once: programs graded
    at the same time.
    """

    sandbox: SandboxConfig
    timeout: float = 10.0
    at_once: int = 4

    async def open(self) -> CodeGrader:
        return CodeGrader(self, await self.sandbox.open())


class CodeGrader:
    """The live service."""

    def __init__(self, config: CodeGraders, host: SandboxHost) -> None:
        import asyncio

        self.config = config
        self._host = host
        self._free = asyncio.Semaphore(config.at_once)
        self._tests = GraderSessions(host, config.timeout)
        self._records: dict[CallTests, Record] = {}

    async def grade(self, program: str, tests: Tests) -> Score:
        """The score of `program`. Raises SandboxError when a sandbox fails, and JudgeError when the reference
        solution itself does not pass."""
        async with self._free:
            if isinstance(tests, StreamTests):
                return await self._streams(program, tests)
            score, _ = await self._play(program, tests, await self._record(tests))
            return score

    async def close(self) -> None:
        """End every session; may be called twice."""
        try:
            await self._tests.close()
        finally:
            await self._host.close()

    async def _record(self, tests: CallTests) -> Record:
        """Learnt when the task is first graded, from its tests and its reference solution."""
        if tests not in self._records:
            foreseen = await self._tests.replay(tests, None)
            record = Record(foreseen["calls"] if foreseen else [], None, 0)
            if tests.reference is None:
                record = record._replace(objects=frozenset())
            else:
                score, answers = await self._play(tests.reference, tests, record)
                if not score.right or not answers:
                    why = score.note or "they never call it"
                    raise JudgeError(f"the reference solution does not pass its own tests: {why}")
                objects = frozenset(call for call, text in answers if _is_object(text))
                record = record._replace(objects=objects, cases=score.cases)
            self._records[tests] = record
            if len(self._records) > REMEMBERED:
                del self._records[next(iter(self._records))]
        return self._records[tests]

    async def _play(self, code: str, tests: CallTests, record: Record) -> tuple[Score, list[Answer]]:
        """The score, and every call with what came of it."""
        deadline = time.monotonic() + 2 * self.config.timeout
        session = await self._host.session()
        try:
            program = ProgramSession(session, self.config.timeout)
            outcomes = await program.load(tests.given, code, record.calls)
            answers = list(map(record.admit, record.calls, outcomes))
            while time.monotonic() < deadline:
                report = await self._tests.replay(tests, answers)
                if report is None:
                    note = program.note or "the tests do not end with what this program answers"
                    return Score(False, cases=record.cases, timed_out=True, note=note), answers
                if not report["calls"]:
                    return _score(report, record.cases, program.note), answers
                answers += [record.admit(call, await program.call(call)) for call in report["calls"]]
            note = "the tests call this program without end"
            return Score(False, cases=record.cases, timed_out=True, note=note), answers
        finally:
            await session.close()

    async def _streams(self, code: str, tests: StreamTests) -> Score:
        session = await self._host.session()
        try:
            program = ProgramSession(session, self.config.timeout)
            texts = await program.read(code, list(tests.inputs))
        finally:
            await session.close()
        held = [_printed(text, output) for text, output in zip(texts, tests.outputs, strict=True)]
        return Score(all(held), note=program.note, passed=sum(held), cases=len(held))


def _is_object(text: str | None) -> bool:
    """Whether an outcome is an object that stayed in the program's session."""
    try:
        value = json.loads(text or "null")["value"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return isinstance(value, dict) and "ref" in value


def _score(report: dict[str, Any], cases: int, note: str) -> Score:
    held: list[bool] = report["cases"]
    right = report["ended"] and all(held)
    note = note or report["error"] or _first_false(held)
    return Score(right, note=note, passed=sum(held), cases=max(cases, len(held)))


def _first_false(held: list[bool]) -> str:
    return "" if all(held) else f"case {held.index(False) + 1} of {len(held)} does not hold"


def _printed(text: str | None, output: str) -> bool:
    """Whether an outcome is a clean exit after printing `output`, word by word; decimals may differ by CLOSE."""
    try:
        outcome = json.loads(text or "null")
        said, status = outcome["stdout"], outcome["exit"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    if status != 0 or not isinstance(said, str):
        return False
    words, expected = said.split(), output.split()
    return len(words) == len(expected) and all(map(_same_word, words, expected))


def _same_word(word: str, expected: str) -> bool:
    if word == expected or "." not in expected:
        return word == expected
    try:
        number, wanted = float(word), float(expected)
    except ValueError:
        return False
    return isfinite(number) and isclose(number, wanted, rel_tol=CLOSE, abs_tol=CLOSE)
