"""What benchmarks share that train the built-in policy: runs by the command line, evaluations, tables of seeds."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentgym.runlog import read_forests, read_metrics
from agentgym.trainers.evaluate import succeeded
from agentgym.types import Group

TASKS, WIDE = 256, 200
Row = dict[str, Any]


def agentgym(*words: str) -> str:
    """Run the command line; its standard output. Raises with its error output when it fails."""
    command = [sys.executable, "-m", "agentgym", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout


def train(env: str, folder: Path, name: str, seed: int, words: list[str]) -> tuple[Path, float]:
    """One run, or the one that is there already: its last checkpoint, and how long it took in seconds."""
    run = folder / name
    if not (run / "report.html").exists():  # written when all is done
        agentgym("train", f"env={env}", f"seed={seed}", f"output_dir={folder}", f"run_name={name}", *words)
    rows = read_metrics(run)
    last = [row for row in rows if "evaluation" in row][-1]
    return run / "checkpoints" / f"step_{last['step']}", last["time"] - rows[0]["time"]


def after(run: Path, stage: str) -> float:
    """The success that the run itself measured at the end of a stage."""
    return float(next(row for row in read_metrics(run) if row.get("evaluation") == stage)["eval/success"])


def evaluate(env: str, checkpoint: Path, seed: int, words: list[str]) -> list[Group]:
    """The episodes of `agentgym eval` on fresh tasks."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "episodes.jsonl"
        base = ["eval", f"env={env}", f"model={checkpoint}", f"seed={seed}", "env.prompt=plain", "-n", str(TASKS)]
        agentgym(*base, *words, "--save", str(file))
        return list(read_forests(file))


def success(groups: list[Group]) -> float:
    """Share of episodes with the right answer."""
    return statistics.fmean(succeeded(group.turns[-1].info) for group in groups)


def table(rows: list[Row]) -> Table:
    """A row for each seed, and the medians with their spread."""
    out = Table("seed", *rows[0])
    for seed, row in enumerate(rows):
        out.add_row(str(seed), *(f"{value:.3f}" for value in row.values()))
    out.add_section()
    for name, pick in (("median", statistics.median), ("lowest", min), ("highest", max)):
        out.add_row(name, *(f"{pick([row[key] for row in rows]):.3f}" for key in rows[0]))
    return out


def main(
    doc: str | None,
    name: str,
    questions: Mapping[str, Callable[[Path, int, list[str]], Row]],
    conclude: Callable[[list[Row]], str] | None = None,
) -> None:
    """Run the seeds of one of the questions, print the table, and what `conclude` makes of it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=questions)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--jobs", type=int, default=1, help="seeds at the same time, a thread each if more than one"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--output-dir", type=Path, help="keep the runs here, and go on with those that are here")
    parser.add_argument("words", nargs="*", help="key=value for `agentgym train`")
    options = parser.parse_intermixed_args()
    if options.jobs > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    folder = options.output_dir or Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    question = questions[options.question]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda seed: question(folder, seed, options.words), range(options.seeds)))
    out = Console(width=None if sys.stdout.isatty() else WIDE)
    out.print(table(rows))
    if conclude:
        out.print(conclude(rows))
    out.print(f"{TASKS} fresh tasks per evaluation; sampled at temperature 1; runs in {folder}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
