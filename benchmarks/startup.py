"""How quickly does the command line answer? `agentgym train env=retool --dry-run` beside `import torch`.

    python benchmarks/startup.py [-n RUNS] [--json FILE]

The two take turns, each in a process of its own, after one run that is not counted. The dry run resolves and
checks every setting and component; it is meant to take less than a tenth of what importing torch takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

COMMANDS = {
    "agentgym train env=retool --dry-run": ["-m", "agentgym", "train", "env=retool", "--dry-run"],
    "agentgym --help": ["-m", "agentgym", "--help"],
    "python -c 'import torch'": ["-c", "import torch"],
    "python -c pass": ["-c", "pass"],
}
AGAINST = "python -c 'import torch'"


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one command, and its median as a share of importing torch."""

    command: str
    median: float
    fastest: float
    slowest: float
    share: float


def seconds(arguments: list[str]) -> float:
    """One run in a new interpreter; raises CalledProcessError when it fails."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(runs: int) -> list[Timing]:
    """Every command `runs` times, in turns, so that a busy moment of the machine hits all of them."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(runs + 1):
        for name, arguments in COMMANDS.items():
            elapsed = seconds(arguments)
            if turn:
                taken[name].append(elapsed)
    torch = median(taken[AGAINST])
    return [Timing(name, median(t), min(t), max(t), median(t) / torch) for name, t in taken.items()]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=15, help="runs of each command (15)")
    parser.add_argument("--json", type=Path, help="also write the timings here")
    arguments = parser.parse_args()
    timings = measure(arguments.n)
    print(f"{'command':38}{'median s':>10}{'fastest':>10}{'slowest':>10}{'of torch':>10}")
    for t in timings:
        print(f"{t.command:38}{t.median:10.3f}{t.fastest:10.3f}{t.slowest:10.3f}{t.share:10.1%}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(t) for t in timings], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
