"""Is the grader right, both ways, on real problems? Every row is played twice in the real environment.

    python benchmarks/real_tasks.py DIRECTORY [--json FILE] [--set NAME ...]

The scripted oracle, told the answer, prints it in the interpreter, reads it back and boxes it: it must score 1.
Then it is told an answer with another meaning, and must score 0. Rows where one of the two fails are listed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentgym.env import StepResult
from agentgym.envs.retool import Retool, RetoolEnv
from agentgym.services import Services
from agentgym.types import Task

SETS = ("gsm8k_test", "math500", "gsm_hard_sample", "aime24", "aime25", "aime_1983_2023", "amc23")
AT_ONCE = 8


@dataclass
class Result:
    """The rows of one set. exceptions: what went wrong, row by row."""

    name: str
    rows: int
    right: int = 0
    rejected: int = 0
    calls: int = 0
    seconds: float = 0.0
    exceptions: list[str] = field(default_factory=list)


def perturb(answer: str) -> str:
    """An answer with another meaning: its first number plus 1, or another word, or the opposite sign."""
    number = re.search(r"\d+", answer)
    if number is not None:
        return f"{answer[: number.start()]}{int(number[0]) + 1}{answer[number.end() :]}"
    text = re.search(r"(?<=\\text\{)[^}]+", answer)
    if text is not None:
        letter = re.sub(r"[A-Z]", lambda found: "A" if found[0] != "A" else "B", text[0])
        return answer.replace(text[0], letter if letter != text[0] else f"not {text[0]}")
    return answer.replace(" - ", " + ") if " - " in answer else f"2{answer}"


async def play(env: RetoolEnv, task: Task, told: str) -> StepResult:
    """One episode of `task` by the oracle that believes in the answer `told`."""
    await env.reset(seed=0, options={"task": replace(task, answer=told)})
    script = env.demonstrate(random.Random(0))
    actions = [next(script)]
    env.task = task  # from here on the true answer counts
    while not (result := await env.step(actions[-1])).terminated:
        actions.append(script.send(result.observation))
    return result


async def judge(task: Task, services: Services, config: Retool, result: Result) -> None:
    """Both episodes of one row."""
    env = config.make(services)
    try:
        for told in (task.answer, perturb(task.answer)):
            last = await play(env, task, told)
            result.calls += last.info["tool_calls"]
            expected = told == task.answer
            if last.info["success"] is expected:
                result.right += expected
                result.rejected += not expected
            else:
                what = "not accepted" if expected else "accepted as well"
                note = last.info.get("grader_note", "")
                result.exceptions.append(
                    f"{task.id}: the answer is {task.answer!r}; {last.info['answer']!r} was {what}. {note}"
                )
    finally:
        await env.close()


async def run(path: Path, services: Services) -> Result:
    """All rows of one file, a few at once."""
    config = Retool(tasks=str(path), demo_error_rate=0.0)
    tasks = config.source().draw(None, random.Random(0), "all")
    result, started = Result(path.stem, len(tasks)), time.perf_counter()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(task: Task) -> None:
        async with gate:
            await judge(task, services, config, result)

    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(one(task))
    result.seconds = time.perf_counter() - started
    return result


async def main(arguments: argparse.Namespace) -> int:
    async with Services() as services:
        results = [await run(arguments.directory / f"{name}.jsonl", services) for name in arguments.set]
    table = Table("set", "rows", "oracle scores 1", "another answer scores 0", "programs run", "seconds")
    for r in results:
        table.add_row(r.name, str(r.rows), str(r.right), str(r.rejected), str(r.calls), f"{r.seconds:.1f}")
    Console().print(table)
    for result in results:
        for exception in result.exceptions:
            print(f"{result.name}: {exception}")
    if arguments.json:
        report: list[dict[str, Any]] = [asdict(result) for result in results]
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if any(result.exceptions for result in results) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--set", nargs="+", default=SETS, choices=SETS)
    sys.exit(asyncio.run(main(parser.parse_args())))
