"""Does the main job learn, and by what? Trains nano from several seeds and evaluates it on fresh tasks.

    python benchmarks/learning.py [--seeds 5] [--jobs 1] [--json FILE] [--curves FILE.svg]
    python benchmarks/learning.py --causal           the interpreter on, its output swapped, and off
    python benchmarks/learning.py --call-cost 0.1    calls on easy and on hard tasks when a call costs
    python benchmarks/learning.py --countdown FILE   trained on generated Countdown, evaluated on FILE's rows

Every evaluation draws 256 tasks with a seed taken from the operating system after training ended, and plays
the checkpoints from before and after RL on the same ones. Calls are counted by the sandbox.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentgym.chart import Chart
from agentgym.runlog import read_forests, read_metrics
from agentgym.trainers.evaluate import succeeded

TASKS = 256
FLAT = ["env.prompt=plain"]


def agentgym(*words: str, threads: int) -> str:
    """Run the command line; its standard output. Raises with its error output when it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "agentgym", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout


def train(folder: Path, seed: int, words: list[str], threads: int) -> dict[str, Any]:
    """One run: its directory, seconds, and the checkpoints at the end of each stage."""
    started = time.monotonic()
    name = f"seed{seed}"
    agentgym(
        "train", "env=retool", f"seed={seed}", f"output_dir={folder}", f"run_name={name}", *words, threads=threads
    )
    rows = [row for row in read_metrics(folder / name) if "evaluation" in row]
    ends = {row["evaluation"]: folder / name / "checkpoints" / f"step_{row['step']}" for row in rows}
    return {"path": folder / name, "seconds": time.monotonic() - started, "checkpoints": ends}


def evaluate(checkpoint: Path, words: list[str], seed: int, threads: int) -> dict[str, Any]:
    """`agentgym eval` on fresh tasks; the evaluation, and success and calls by the tasks' level."""
    with tempfile.TemporaryDirectory() as folder:
        episodes = Path(folder) / "episodes.jsonl"
        counts = [] if any("jsonl" in word for word in words) else ["-n", str(TASKS)]
        base = ["eval", "env=retool", f"model={checkpoint}", f"seed={seed}", "max_completion_tokens=96", *FLAT]
        out = agentgym(*base, *words, *counts, "--json", "--save", str(episodes), threads=threads)
        result: dict[str, Any] = json.loads(out)
        groups = read_forests(episodes)
    for level in {str(g.task.info["level"]) for g in groups if "level" in g.task.info}:
        ends = [g.turns[-1].info for g in groups if g.task.info["level"] == level]
        result[level] = {
            "tasks": len(ends),
            "success": statistics.fmean(succeeded(end) for end in ends),
            "call_rate": statistics.fmean(end.get("tool_calls", 0) > 0 for end in ends),
        }
    return result


KNOWS_EASY = [
    "env.tasks={name='arith',easy_fraction=0.5}",
    "stages.cold_start.pool=8192",
    "stages.cold_start.steps=600",
    "stages.rl.steps=150",
]
"""A longer cold start: to save a call, a policy must know the easy answers better than the call is dear."""


def one_seed(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, then evaluate before and after, and what the chosen question needs."""
    cost = [f"env.call_cost={options.call_cost}"] if options.call_cost else []
    tasks = ["env.tasks=countdown"] if options.countdown else []
    run = train(folder, seed, [*tasks, *cost, *(KNOWS_EASY if cost else []), *options.words], options.threads)
    fresh = random.SystemRandom().getrandbits(31)
    where = [f"env.tasks={options.countdown}"] if options.countdown else []
    before, after = run["checkpoints"]["cold_start"], run["checkpoints"]["rl"]
    result = {"seed": seed, "seconds": run["seconds"], "eval_seed": fresh, "path": str(run["path"])}
    result["before"] = evaluate(before, [*where, *cost], fresh, options.threads)
    result["after"] = evaluate(after, [*where, *cost], fresh, options.threads)
    if options.causal:
        hard = "env.tasks={name='arith',easy_fraction=0.0}"
        for mode in ("on", "swapped", "off"):
            result[mode] = evaluate(after, [hard, f"env.tool_output={mode}"], fresh, options.threads)
    return result


def table(results: list[dict[str, Any]], options: argparse.Namespace) -> Table:
    """A row for each seed and the medians."""
    columns = ["before", "after", *(["on", "swapped", "off"] if options.causal else [])]
    levels = ("easy", "hard") if options.call_cost else ()
    out = Table("seed", *columns, *[f"calls {level}" for level in levels], *[f"success {x}" for x in levels], "s")

    def cells(pick: Any) -> list[str]:
        rates = [pick([r[c]["success"] for r in results]) for c in columns]
        for what in ("call_rate", "success"):
            rates += [pick([r["after"][level][what] for r in results]) for level in levels]
        return [f"{rate:.3f}" for rate in rates] + [f"{pick([r['seconds'] for r in results]):.0f}"]

    for index, result in enumerate(results):
        out.add_row(str(result["seed"]), *cells(lambda values, i=index: values[i]))
    out.add_section()
    out.add_row("median", *cells(statistics.median))
    out.add_row("min", *cells(min))
    out.add_row("max", *cells(max))
    return out


def curves(results: list[dict[str, Any]]) -> str:
    """Success over the steps of RL, one chart a seed, as one SVG."""
    charts = []
    for result in results:
        rows = [r for r in read_metrics(Path(result["path"])) if r.get("stage") == "rl" and "success" in r]
        points = [(float(i), r["success"]) for i, r in enumerate(rows)]
        chart = Chart(f"seed {result['seed']}: success", points, (0.0, float(len(points))), include=(0.0, 1.0))
        charts.append(chart.svg())
    style = (
        "<style>text{font:10px sans-serif}.curve{stroke:#2563eb;fill:none}.raw{stroke:#bfdbfe;fill:none}</style>"
    )
    placed = "".join(f'<g transform="translate(0 {220 * i})">{chart}</g>' for i, chart in enumerate(charts))
    height = 220 * len(charts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 420 {height}">{style}{placed}</svg>'


def main() -> None:
    """Run the seeds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="seeds trained at the same time")
    parser.add_argument("--threads", type=int, help="torch threads of each; the processors, shared out")
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--call-cost", type=float, default=0.0)
    parser.add_argument("--countdown", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--curves", type=Path)
    parser.add_argument("--output-dir", type=Path, help="keep the runs here")
    parser.add_argument("words", nargs="*", help="key=value for `agentgym train`")
    options = parser.parse_args()
    options.threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    folder = options.output_dir or Path(tempfile.mkdtemp(prefix="learning-"))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda seed: one_seed(folder, seed, options), range(options.seeds)))
    console = Console()
    console.print(table(results, options))
    console.print(f"{TASKS} fresh tasks per evaluation; sampled at temperature 1; runs in {folder}")
    if options.curves:
        options.curves.write_text(curves(results), encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
