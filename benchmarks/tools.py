"""What a step costs where the tool takes no time: environments with a tool, agentgym's and other libraries'.

An episode is a reset, 15 calls of a tool that says again what it is given, an answer that is rewarded, and the
end; the policy is a script. So many lanes at once play episodes one after the other for some seconds, and let each
other go on before every step.

bare loop: find a tag, await a function, write the output: the most that one process can do.
tool_agent: ours, with a coroutine function as the tool, or a plain one, which runs in a thread.
gem-llm: its tool wrapper in its vector of environments, which steps all lanes together, each in a thread.
skyrl-gym: a text environment and its tool group, called where they stand.
verifiers: the ToolEnv of before 0.4, which asks a client.
openenv-core, our OpenEnv server: a server in a second process, and openenv-core's clients, a connection a lane.

Ours checks arguments against the tool's types, sets a deadline, disarms markers in what a tool prints, and keeps a
history to fork from; gem-llm and skyrl-gym find a tag and call the tool.

us CPU: processor time a step of the process that plays, the reset and the end included. An idle episode: what
Python allocates for one that waits after its first step, of 10,000 (verifiers: 200). Every row is a process that
measures itself; all take turns, and the rounds are repeated: medians of the rounds, lowest and highest rate.

    python benchmarks/tools.py --json tools.json      # makes .venv-steps on first use (1.8 GB)
    python benchmarks/tools.py --only bare ours --concurrency 1024
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tool_steps.rows import PARTS, ROWS, VERSIONS, Process, Skipped, start

REFERENCE = "tool_agent, async function, arpo"
Rounds = dict[tuple[str, int], list[dict[str, float]]]


async def measure(processes: list[Process], options: argparse.Namespace) -> Rounds:
    """What each round gave of each row at each concurrency."""
    rounds: Rounds = {}
    for turn in range(options.repeat):
        for lanes in options.concurrency:
            print(f"round {turn + 1} of {options.repeat}, concurrency {lanes}", file=sys.stderr)
            for process in processes:
                found = await process.ask(lanes=lanes, seconds=options.seconds)
                rounds.setdefault((process.row.name, lanes), []).append(found)
    return rounds


def summarise(samples: list[dict[str, float]]) -> dict[str, float]:
    """Medians of rounds: steps a second, microseconds of processor time a step, and of latency."""
    rates = [sample["steps"] / sample["wall"] for sample in samples]
    return {
        "rate": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "cpu_us": 1e6 * statistics.median(sample["cpu"] / sample["steps"] for sample in samples),
        "p50_us": 1e6 * statistics.median(sample["p50"] for sample in samples),
        "p99_us": 1e6 * statistics.median(sample["p99"] for sample in samples),
        "steps": sum(sample["steps"] for sample in samples),
    }


def times_ours(rounds: Rounds, name: str, lanes: int) -> float | None:
    """Our rate by another's, round by round; None where ours was not measured."""
    ours = rounds.get((REFERENCE, lanes))
    if ours is None:
        return None
    pairs = zip(ours, rounds[name, lanes], strict=True)
    return statistics.median(o["steps"] / o["wall"] / (t["steps"] / t["wall"]) for o, t in pairs)


def show(report: dict[str, Any]) -> None:
    """Print it all."""
    for lanes in dict.fromkeys(each["concurrency"] for each in report["rows"]):
        columns = f"{'steps/s':>10}{'spread':>20}{'us CPU':>9}{'p50 us':>10}{'p99 us':>10}{'ours, times':>13}"
        print(f"\n{f'concurrency {lanes}':36}{columns}")
        for s in (each for each in report["rows"] if each["concurrency"] == lanes):
            spread = f"{s['low']:,.0f} to {s['high']:,.0f}"
            ratio = "" if s["times_ours"] is None else f"{s['times_ours']:.2f}"
            latency = f"{s['p50_us']:>10,.1f}{s['p99_us']:>10,.1f}"
            print(f"{s['row']:36}{s['rate']:>10,.0f}{spread:>20}{s['cpu_us']:>9.1f}{latency}{ratio:>13}")
    print(f"\n{'an idle episode':36}{'bytes':>10}")
    for name, found in report["idle_bytes"].items():
        print(f"{name:36}{found:>10,.0f}")
    for name, reason in report["skipped"].items():
        print(f"\nskipped: {name}: {reason}")


async def run(options: argparse.Namespace) -> None:
    skipped: dict[str, str] = {}
    processes: list[Process] = []
    async with AsyncExitStack() as stack:
        for row in (row for row in ROWS if row.part in options.only):
            try:
                processes.append(await start(stack, row, options.peers))
            except Skipped as reason:
                skipped[row.name] = str(reason)
        idle = {process.row.name: (await process.ask())["bytes"] for process in processes}
        rounds = await measure(processes, options)
    report = {
        "machine": {"processors": os.cpu_count(), "kernel": platform.release()},
        "versions": {"python": platform.python_version(), **VERSIONS},
        "idle_bytes": {name: found for name, found in idle.items() if found is not None},
        "skipped": skipped,
        "rows": [
            {
                "row": name,
                "concurrency": lanes,
                **summarise(samples),
                "times_ours": times_ours(rounds, name, lanes),
            }
            for (name, lanes), samples in rounds.items()
        ],
    }
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts (all)")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 64, 1024])
    parser.add_argument("--repeat", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each row in a round (2)")
    parser.add_argument("--peers", type=Path, default=Path(".venv-steps"), help="their environments (.venv-steps)")
    parser.add_argument("--json", type=Path)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
