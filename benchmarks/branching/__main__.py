"""Does branching pay? Nano learns what the signs in mazes mean, from rollouts that branch and from others.

    python benchmarks/branching [--seeds 5] [--jobs 2] [--json FILE] [--only arpo flat]

The task: corridors with one door, then halls with four, of which a sign tells the right one to who knows what it
means. Early moves are certain, late ones mostly a guess until RL has found out; so it is known where exploring
should begin, and a move costs a tool call. For every seed a cold start is trained once, by guides that guess at 7
signs in 10, and each method goes on from it for as many steps, with M = 16 trajectories a task:

flat: independent rollouts. flat, equal tokens: as many of them as sample the tokens of `arpo`.
arpo: forks where entropy has risen (branch_probability 0, entropy_weight 4), N = 4.
arpo, as published: the paper's 0.5 and 0.2, N = 8, by which entropy decides little.
aepo: arpo with AEPO's share (balance 10) and penalty. mcts: DeepSearch's search and its credit.

success: on 128 tasks every 3 steps, without branching. Calls and tokens are counted by the environment and the
engine, over all rollouts of training. To reach: what had been spent at the first evaluation of at least that much.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentgym.config import read_toml
from agentgym.runlog import read_metrics

HERE = Path(__file__).parent
ARPO = 'name="entropy_branching", initial_rollouts=4, branch_probability=0.0, entropy_weight=4.0'
BALANCED = ARPO.replace("initial_rollouts=4", 'initial_rollouts="balanced", balance=10, fork_penalty=0.2')
DEEPSEARCH = """[{name="weighted_sum", weights={return=1.0}}, {name="supervised"}, {name="node_value"}]"""
METHODS = {
    "flat": ['stages.rl.rollout={name="independent"}'],
    "arpo": [f"stages.rl.rollout={{{ARPO}}}"],
    "flat, equal tokens": [],  # known when arpo has run
    "arpo, as published": ['stages.rl.rollout={name="entropy_branching", initial_rollouts=8}'],
    "aepo": [f"stages.rl.rollout={{{BALANCED}}}"],
    "mcts": [
        'stages.rl.rollout={name="tree_search", width=4}',
        f"stages.rl.credit={DEEPSEARCH}",
        "stages.rl.sampler.drop_zero_spread=false",
    ],
}
THRESHOLDS = (0.5, 0.7, 0.8)


def train(run_directory: Path, words: Sequence[str], threads: int) -> None:
    """`agentgym train`, unless that run has ended; raises SystemExit with its error output when it fails."""
    if (run_directory / "checkpoints" / "latest").exists():
        return
    words = [*words, f"output_dir={run_directory.parent}", f"run_name={run_directory.name}"]
    command = [sys.executable, "-m", "agentgym", "train", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr[-3000:]}")


def cold_start(folder: Path, seed: int, threads: int) -> Path:
    """The checkpoint from which all methods of a seed go on."""
    where = folder / f"cold-{seed}"
    train(where, [f"recipe={HERE / 'cold_start.toml'}", f"seed={seed}"], threads)
    steps = [row["step"] for row in read_metrics(where) if row.get("evaluation") == "cold_start"]
    return where / "checkpoints" / f"step_{steps[-1]}"


def run(folder: Path, seed: int, method: str, words: Sequence[str], threads: int) -> dict[str, Any]:
    """One method from one seed: spent calls and tokens, and success, at each evaluation."""
    where = folder / f"{method.replace(', ', '-').replace(' ', '-')}-{seed}"
    start = cold_start(folder, seed, threads)
    train(where, [f"recipe={HERE / 'rl.toml'}", f"model={start}", f"seed={seed}", *words], threads)
    curve, calls, tokens = [], 0, 0
    for row in read_metrics(where):
        calls, tokens = calls + row.get("tool_calls_made", 0), tokens + row.get("tokens_sampled", 0)
        if "evaluation" in row:
            curve.append({"step": row["step"], "calls": calls, "tokens": tokens, "success": row["eval/success"]})
    steps = [row for row in read_metrics(where) if "tokens_sampled" in row]
    branched = [row for row in steps if "forks" in row]
    means = {
        key: statistics.fmean(row[key] for row in branched)
        for key in ("forks", "forks_on_top3", "sampled_share", "tool_calls_saved")
        if branched
    }
    groups = read_toml(where / "config.toml", "run")["batch_size"]
    group_tokens = statistics.fmean(row["tokens_sampled"] for row in steps) / groups
    return {"seed": seed, "method": method, "curve": curve, "group_tokens": group_tokens, **means}


def one_seed(folder: Path, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All methods from one cold start."""
    results: dict[str, dict[str, Any]] = {}
    for method in options.only:
        words = METHODS[method]
        if method == "flat, equal tokens":
            tokens = round(results["arpo"]["group_tokens"])
            words = [f'stages.rl.rollout={{name="independent", budget="tokens", tokens={tokens}}}']
        results[method] = run(folder, seed, method, [*words, *options.words], options.threads)
        print(f"seed {seed}, {method}: {results[method]['curve'][-1]}", file=sys.stderr)
    return list(results.values())


def reached(result: dict[str, Any], success: float, what: str) -> float | None:
    """What was spent at the first evaluation of at least that success; None: there was none."""
    return next((float(point[what]) for point in result["curve"] if point["success"] >= success), None)


def compare(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each method and seed: final success, and calls and tokens to reach a success, over those of `flat`."""
    flat = {r["seed"]: r for r in results if r["method"] == "flat"}
    rows = []
    for result in results:
        base = flat[result["seed"]]
        row = {"method": result["method"], "seed": result["seed"], "success": result["curve"][-1]["success"]}
        row |= {what: result["curve"][-1][what] for what in ("calls", "tokens")}
        row |= {key: result.get(key) for key in ("forks", "forks_on_top3", "sampled_share", "tool_calls_saved")}
        for name, success in [(str(t), t) for t in THRESHOLDS] + [("flat's last", base["curve"][-1]["success"])]:
            for what in ("calls", "tokens"):
                own, theirs = reached(result, success, what), reached(base, success, what)
                row[f"{what} to {name}"] = own / theirs if own and theirs else None
        rows.append(row)
    return rows


def spread(values: Sequence[float | None], form: str) -> str:
    """Median, lowest and highest; how many there are when not all seeds got there."""
    there = [value for value in values if value is not None]
    if not there:
        return "never"
    text = f"{statistics.median(there):{form}} ({min(there):{form}} to {max(there):{form}})"
    return text if len(there) == len(values) else f"{text}, {len(there)} of {len(values)}"


def tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """What was reached and spent; and that against flat rollouts, seed by seed."""
    spent = Table("method", "success at the end", "tool calls", "tokens sampled", "forks", "on top 3")
    against = Table("method", *(key for key in rows[0] if " to " in key), title="over what flat rollouts spent")
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        column = {key: [row[key] for row in own] for key in own[0]}
        forms = {"success": ".3f", "calls": ",.0f", "tokens": ",.0f", "forks": ".1f", "forks_on_top3": ".2f"}
        spent.add_row(method, *(spread(column[key], form) for key, form in forms.items()))
        against.add_row(method, *(spread(column[key], ".2f") for key in column if " to " in key))
    return [spent, against]


def main() -> None:
    """Run the seeds, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="seeds trained at the same time")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of each")
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument(
        "--output-dir", type=Path, help="keep the runs here, and do not repeat those that are there"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("words", nargs="*", help="key=value for `agentgym train`, for all methods")
    options = parser.parse_args()
    folder = options.output_dir or Path(tempfile.mkdtemp(prefix="branching-"))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = [
            r for rs in pool.map(lambda seed: one_seed(folder, seed, options), range(options.seeds)) for r in rs
        ]
    rows = compare(results)
    for table in tables(rows):
        Console(width=200).print(table)
    if options.json:
        options.json.write_text(json.dumps({"runs": results, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
