"""What a program's run costs: in agentgym's sandboxes, without any, in containers, in other gyms' Python tools.

call: in a session that lives; `pipe worker` is the same without a sandbox, a Python that executes the lines of a
    pipe. new session: from nothing to ready. fork: of a live session with 50 MB of state, which changes between
    forks. Ours and the pipe workers have numpy and sympy loaded.
small, sympy: the programs. The second one imports numpy and sympy, and factors a number.
memory: of an idle session, what its processes (worker and keeper) share with no other.

So many lanes at once, each a session of its own, do one after the other for some seconds. All rows take turns, and
the rounds are repeated, so that a slow minute hits all: medians and 99th percentiles are of all runs together, the
spread is that of the rounds' medians. At 64 lanes a run waits for processors more than it works; what imports
sympy anew in every run has 8 at most.

    python benchmarks/sandbox.py --json sandbox.json       # makes .venv-peers on first use (0.5 GB)
    python benchmarks/sandbox.py --only docker http        # our other sandboxes, by the image agentgym-sandbox
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from code_execution.bare import bare_rows, container_rows
from code_execution.measure import PROGRAMS, Row, Sample, Skipped
from code_execution.memory import idle_session
from code_execution.peers import VERSIONS, peer_rows
from code_execution.sandboxes import docker_rows, http_rows, local_rows

DEFAULT = ("local", "bare", "containers", "peers", "memory")
PARTS = (*DEFAULT, "docker", "http")
Rounds = dict[tuple[str, int], list[Sample]]


async def open_part(part: str, stack: AsyncExitStack, options: argparse.Namespace) -> list[Row]:
    """The rows of a part; raises Skipped."""
    match part:
        case "local":
            return await local_rows(stack)
        case "bare":
            return bare_rows()
        case "containers":
            return await container_rows(stack, options.image)
        case "peers":
            return await peer_rows(stack, options.venv)
        case "docker":
            return await docker_rows(stack, options.image)
        case "http":
            return await http_rows(stack)
    return []


async def measure(options: argparse.Namespace) -> tuple[list[Row], Rounds, dict[str, str]]:
    """The rows, what was measured of each at each concurrency, and why parts were skipped."""
    rows: list[Row] = []
    rounds: Rounds = {}
    skipped: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for part in options.only:
            try:
                rows += await open_part(part, stack, options)
            except Skipped as reason:
                skipped[part] = str(reason)
        for turn in range(options.repeat):
            for lanes in options.concurrency:
                print(f"round {turn + 1} of {options.repeat}, concurrency {lanes}", file=sys.stderr)
                for row in (row for row in rows if lanes <= row.most):
                    rounds.setdefault((row.name, lanes), []).append(await row.take(lanes, options.seconds))
    return rows, rounds, skipped


def summarise(samples: list[Sample]) -> dict[str, float]:
    """Milliseconds of all rounds together, the rounds' lowest and highest median, calls a second, how many."""
    taken = sorted(each * 1000 for sample in samples for each in sample.seconds)
    medians = [sample.median * 1000 for sample in samples]
    return {
        "median": statistics.median(taken),
        "p99": taken[math.ceil(0.99 * len(taken)) - 1],
        "low": min(medians),
        "high": max(medians),
        "rate": statistics.median(sample.rate for sample in samples),
        "n": len(taken),
    }


def compare(rows: list[Row], rounds: Rounds, concurrency: list[int]) -> list[dict[str, Any]]:
    """Our calls beside every other row that runs the same program: medians of what each round gave."""
    calls = {row.program: row.name for row in rows if row.name.startswith("local: call")}
    comparisons = []
    for row in rows:
        name = calls.get(row.program)
        if name is None or row.name == name:
            continue
        for lanes in (each for each in concurrency if each <= row.most):
            pairs = list(zip(rounds[name, lanes], rounds[row.name, lanes], strict=True))
            more = statistics.median(ours.median - theirs.median for ours, theirs in pairs) * 1000
            rate = statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)
            comparisons.append({"row": row.name, "concurrency": lanes, "ms_more": more, "times_the_rate": rate})
    return comparisons


def show(summaries: list[dict[str, Any]], comparisons: list[dict[str, Any]], report: dict[str, Any]) -> None:
    """Print it all."""
    for lanes in dict.fromkeys(each["concurrency"] for each in summaries):
        title = f"concurrency {lanes}"
        print(f"\n{title:32}{'median ms':>10}{'p99':>10}{'spread':>20}{'a second':>10}{'runs':>8}")
        for s in (each for each in summaries if each["concurrency"] == lanes):
            spread = f"{s['low']:.2f} to {s['high']:.2f}"
            rate = f"{s['rate']:10,.0f}" if s["call"] else " " * 10
            print(f"{s['row']:32}{s['median']:10.2f}{s['p99']:10.2f}{spread:>20}{rate}{s['n']:8,}")
    if comparisons:
        print(f"\n{'local: a call takes':32}" + f"{'ms more':>10}{'calls a second, times theirs':>32}")
    for c in comparisons:
        of = f"{c['row']}, at {c['concurrency']}"
        print(f"  than {of:25}{c['ms_more']:10.2f}{c['times_the_rate']:32.1f}")
    for when, found in report["memory"].items():
        print(f"\nan idle session, {when}: {found['kib'] / 1024:.2f} MiB in {found['processes']:.1f} processes")
    for part, reason in report["skipped"].items():
        print(f"\nskipped: {part}: {reason}")


async def run(options: argparse.Namespace) -> None:
    memory = {}
    if "memory" in options.only:
        for when, ran in (("that ran nothing", False), ("after a small program", True)):
            memory[when] = (await idle_session(ran))._asdict()
    rows, rounds, skipped = await measure(options)
    summaries = [
        {"row": row.name, "concurrency": lanes, "call": bool(row.program), **summarise(rounds[row.name, lanes])}
        for lanes in options.concurrency
        for row in rows
        if lanes <= row.most
    ]
    comparisons = compare(rows, rounds, options.concurrency)
    report = {
        "machine": {"processors": os.cpu_count(), "kernel": platform.release()},
        "versions": {"python": platform.python_version(), **VERSIONS},
        "programs": {program.name: program.code for program in PROGRAMS},
        "memory": memory,
        "skipped": skipped,
        "rows": summaries,
        "comparisons": comparisons,
    }
    show(summaries, comparisons, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=DEFAULT, help=f"parts ({' '.join(DEFAULT)})")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 2, 8, 64])
    parser.add_argument("--repeat", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each row in a round (1)")
    parser.add_argument("--image", default="agentgym-sandbox", help="for containers and docker (agentgym-sandbox)")
    parser.add_argument("--venv", type=Path, default=Path(".venv-peers"), help="the peers' (.venv-peers)")
    parser.add_argument("--json", type=Path)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
