"""How many programs a second are graded? Ours, isolated and apart from the tests, beside a bare interpreter each.

    python benchmarks/grading.py DATA [-n ROUNDS] [--json FILE]

DATA is a folder with `code/humaneval.jsonl` and `code/mbpp.jsonl`; their reference solutions are graded. The other
way is `python -c "program and tests"` in a fresh interpreter, without isolation and with the tests in reach. The
two take turns after a round that is not counted: in it ours learns which calls the tests make, and what that costs
is `first`. Both grade AT_ONCE programs at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from agentgym.envs.code_grading import CodeGraders
from agentgym.envs.code_tests import CallTests, find_tests
from agentgym.envs.tasks.source import task_source
from agentgym.sandboxes.local import Local

SETS = ("humaneval", "mbpp")
AT_ONCE = 2
TIMEOUT = 60.0
Judge = Callable[[CallTests], Awaitable[bool]]


@dataclass(frozen=True)
class Rate:
    """Programs a second, median with slowest and fastest round, and the median's ratio to a bare interpreter's.
    passed: programs that passed in every round. first: programs a second in the round that is not counted."""

    set: str
    way: str
    programs: int
    passed: int
    median: float
    slowest: float
    fastest: float
    first: float
    ratio: float


async def bare(tests: CallTests) -> bool:
    """Exit status 0 of one interpreter that runs everything."""
    names = ("-c", f"{tests.reference}\n{tests.tests}")
    process = await asyncio.create_subprocess_exec(sys.executable, *names, stdout=-3, stderr=-3)
    async with asyncio.timeout(TIMEOUT):
        return await process.wait() == 0


async def all_at(judge: Judge, programs: list[CallTests]) -> tuple[float, int]:
    """Programs a second, and how many passed."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(tests: CallTests) -> bool:
        async with gate:
            return await judge(tests)

    started = time.perf_counter()
    passed = await asyncio.gather(*map(one, programs))
    return len(programs) / (time.perf_counter() - started), sum(passed)


async def measure(name: str, programs: list[CallTests], ways: dict[str, Judge], rounds: int) -> list[Rate]:
    """Each way in turn, `rounds` times after the first."""
    seen: dict[str, list[tuple[float, int]]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, judge in ways.items():
            seen[way].append(await all_at(judge, programs))
    rates = {way: [rate for rate, _ in found[1:]] for way, found in seen.items()}
    floor = median(rates["bare interpreter"])
    return [
        Rate(
            *(name, way, len(programs), min(passed for _, passed in seen[way])),
            *(median(rates[way]), min(rates[way]), max(rates[way]), seen[way][0][0]),
            ratio=median(rates[way]) / floor,
        )
        for way in ways
    ]


async def main(arguments: argparse.Namespace) -> list[Rate]:
    grader = await CodeGraders(Local(), timeout=TIMEOUT, at_once=AT_ONCE).open()

    async def ours(tests: CallTests) -> bool:
        return (await grader.grade(tests.reference or "", tests)).right

    rates: list[Rate] = []
    try:
        for name in SETS:
            tasks = task_source(str(arguments.data / "code" / f"{name}.jsonl")).draw(None, random.Random(0), "all")
            programs = [tests for tests in map(find_tests, tasks) if isinstance(tests, CallTests)]
            ways: dict[str, Judge] = {"agentgym": ours, "bare interpreter": bare}
            rates += await measure(name, programs, ways, arguments.n)
    finally:
        await grader.close()
    return rates


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-n", type=int, default=5, help="rounds of each way (5)")
    parser.add_argument("--json", type=Path, help="also write the rates here")
    arguments = parser.parse_args()
    rates = asyncio.run(main(arguments))
    columns = "{:10} {:17}{:>9}{:>10}{:>9}{:>9}{:>8}{:>7}"
    print(columns.format("set", "way", "passed", "median/s", "slowest", "fastest", "first", "ratio"))
    for r in rates:
        speeds = [f"{speed:.1f}" for speed in (r.median, r.slowest, r.fastest, r.first)]
        print(columns.format(r.set, r.way, f"{r.passed}/{r.programs}", *speeds, f"{r.ratio:.2f}"))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(r) for r in rates], indent=1) + "\n", encoding="utf-8")
