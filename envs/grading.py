"""Is this answer right? Checked in this process where that is plain, else by math-verify in a worker.

The algebra system can hang or die on what a policy writes, so it runs outside, under a deadline. A worker that
misses it is killed and replaced: the answer counts as wrong, and the verdict says that nobody could tell.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentgym.errors import JudgeError, TaskError
from agentgym.types import Task

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from agentgym.services import Services

Checker = Literal["auto", "math", "countdown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """right: the answer is. timed_out: nobody could tell in time, or the grader died of it. note: what went wrong,
    or why the answer could not be compared."""

    right: bool
    timed_out: bool = False
    note: str = ""

    @property
    def remarks(self) -> dict[str, Any]:
        """What a step's info says of it, where there is something to say."""
        told = {"grader_timeout": self.timed_out, "grader_note": self.note}
        return {name: value for name, value in told.items() if value}


async def grade(task: Task, answer: str | None, checker: Checker, services: Services) -> Verdict:
    """The verdict on `answer` (None: none was given). Raises JudgeError when the checker itself fails."""
    from agentgym import qa
    from agentgym.envs import answers, expressions

    if answer is None:
        return Verdict(False)
    numbers, target = task.info.get("numbers"), task.info.get("target")
    has_numbers = isinstance(numbers, list) and isinstance(target, int)
    if checker == "countdown" and not has_numbers:
        raise TaskError(f"task {task.id!r}: the countdown checker needs numbers and target in the task's info")
    if checker != "math" and isinstance(numbers, list) and isinstance(target, int):
        return Verdict(expressions.hits_target(answer, numbers, target))
    plain = {gold: answers.compare(gold, answer) for gold in qa.right_answers(task)}
    if True in plain.values():
        return Verdict(True)
    verdict = Verdict(False)
    for gold in (gold for gold, decided in plain.items() if decided is None):
        workers = await services.get(MathWorkers())
        verdict = await workers.compare(gold, answer)
        if verdict.right:
            break
    return verdict


@dataclass(frozen=True, slots=True)
class MathWorkers:
    """A service: worker processes that run math-verify, started when first needed. Times in seconds."""

    count: int = 2
    deadline: float = 5.0
    start_deadline: float = 60.0
    program: str = str(Path(__file__).with_name("math_worker.py"))

    async def open(self) -> MathGrader:
        return MathGrader(self)


class MathGrader:
    """The live workers."""

    def __init__(self, config: MathWorkers) -> None:
        import asyncio

        self.config = config
        self._free = asyncio.Semaphore(config.count)
        self._idle: list[Process] = []

    async def compare(self, gold: str, answer: str) -> Verdict:
        """math-verify's verdict. Raises JudgeError when no worker can be started."""
        from agentgym.envs import answers

        question = {"gold": answers.normalise(gold), "answer": answers.normalise(answer)}
        async with self._free:
            for _ in range(2):  # a worker may have died while idle: only a second death blames the answer
                worker = self._idle.pop() if self._idle else await self._start()
                try:
                    reply = await _exchange(worker, question, self.config.deadline)
                except TimeoutError:
                    return Verdict(False, timed_out=True, note=f"no verdict within {self.config.deadline} s")
                if reply is not None:
                    self._idle.append(worker)
                    return Verdict(bool(reply["right"]), note=str(reply.get("note", "")))
        return Verdict(False, timed_out=True, note="the checker died of this answer")

    async def close(self) -> None:
        """End the workers; may be called twice."""
        while self._idle:
            await _kill(self._idle.pop())

    async def _start(self) -> Process:
        import asyncio
        from subprocess import PIPE

        seconds = str(int(self.config.deadline) + 2)
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-P", self.config.program, seconds, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert worker.stderr is not None
        try:
            ready = await _exchange(worker, None, self.config.start_deadline)
        except TimeoutError as error:
            raise JudgeError(f"the maths checker did not start in {self.config.start_deadline} s") from error
        if ready is None:
            complaint = (await worker.stderr.read()).decode(errors="replace").strip()
            raise JudgeError(f"the maths checker did not start: {complaint[-500:] or 'it said nothing'}")
        return worker


async def _exchange(worker: Process, question: dict[str, str] | None, deadline: float) -> dict[str, Any] | None:
    """The worker's next line, after a question or as it starts; None when it died. A worker that said nothing,
    even because its asker was cancelled, is dead afterwards: a late reply must not answer the next question."""
    import asyncio

    assert worker.stdin is not None
    assert worker.stdout is not None
    line = b""
    try:
        async with asyncio.timeout(deadline):
            if question is not None:
                worker.stdin.write(json.dumps(question).encode() + b"\n")
                await worker.stdin.drain()
            line = await worker.stdout.readline()
    except (BrokenPipeError, ConnectionResetError):
        return None
    finally:
        if not line.endswith(b"\n"):
            await _kill(worker)
    reply: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
    return reply


async def _kill(worker: Process) -> None:
    if worker.returncode is None:
        worker.kill()
    await worker.wait()
