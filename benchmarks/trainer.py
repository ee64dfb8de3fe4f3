"""A step of GRPO beside TRL's, and an update beside a bare forward and backward pass.

32 prompts of 200 tokens, 8 samples of at most 128 tokens each, a 0.85M-parameter Qwen2 (4 layers, width 128, 512
tokens). Rewards are random numbers. Every contestant takes whole steps of its own real loop (sampling, rewards,
advantages, update, logs), in a process of its own, one step in turn, so that a slow minute hits all; the first
step of each warms up and does not count.

plain: random weights, one turn, no tool.
calculator: the model is first taught to call a calculator at the start of its turn and then, having read the
    answer, to write at random; both contestants load it, parse its calls and answer them. No call is forced.
    agentgym's environment shows the tool's definition as TRL's `tools=` does: the prompts have the same ids.

update against bare: see `grpo_step/bare.py`; it computes the tokens that agentgym trained on in the step before.

    python benchmarks/trainer.py --threads 2 --json trainer.json     # makes .venv-trl on first use (1.4 GB)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import IO, Any

from grpo_step import case

CASES = ("plain", "calculator")
CONTESTANTS = {"agentgym": "ours.py", "bare": "bare.py", "trl": "peer.py"}
HERE = Path(__file__).parent
VENV = Path(".venv-trl")
TRL, TORCH = "1.16.0", "2.13.0"
LOG = Path("trainer-benchmark.log")


def make_trl_environment() -> str:
    """Python of an environment with TRL, made on first use."""
    python = VENV / "bin" / "python"
    if not (VENV / "ready").exists():
        subprocess.run(["python3", "-m", "venv", str(VENV)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "-c", str(HERE.parent / "constraints.txt")]
        subprocess.run([*pip, f"torch=={TORCH}"], check=True)
        subprocess.run([*pip, f"trl=={TRL}"], check=True)
        (VENV / "ready").touch()
    return str(python)


def prepare(folder: Path, name: str, steps: int) -> None:
    """The model and the questions of a case."""
    case.make_model(folder)
    if name == "calculator":
        case.teach(folder)
    case.write_questions(folder, name == "calculator", n=case.PROMPTS * (steps + 1))


class Contestant:
    """A process that takes a step when told to."""

    def __init__(self, name: str, folder: Path, case_name: str, threads: int, steps: int, log: IO[str]) -> None:
        self.name = name
        python = make_trl_environment() if name == "trl" else sys.executable
        command = [python, str(HERE / "grpo_step" / CONTESTANTS[name]), str(folder), case_name]
        self.process = subprocess.Popen(
            [*command, str(threads), str(steps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )

    def step(self, what: str = "step") -> dict[str, Any]:
        """What it tells about the step it took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} died; see {LOG}")
        told: dict[str, Any] = json.loads(answer)
        return told

    def close(self) -> None:
        self.process.communicate()


def measure(name: str, threads: int, steps: int) -> dict[str, list[dict[str, Any]]]:
    """What each contestant told about each step after the first."""
    told: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in CONTESTANTS}
    with tempfile.TemporaryDirectory() as scratch, LOG.open("a") as log:
        prepare(Path(scratch), name, steps + 1)
        running = {c: Contestant(c, Path(scratch), name, threads, steps + 1, log) for c in CONTESTANTS}
        for _ in range(steps + 1):
            ours = running["agentgym"].step()
            told["agentgym"].append(ours)
            told["bare"].append(running["bare"].step(ours["forests"]))
            told["trl"].append(running["trl"].step())
        for contestant in running.values():
            contestant.close()
    return {contestant: rows[1:] for contestant, rows in told.items()}


def summarise(name: str, told: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians and spreads, and the medians of the step-by-step ratios."""
    ours, bare, trl = told["agentgym"], told["bare"], told["trl"]
    summary: dict[str, Any] = {"case": name, "steps": told}
    for contestant, rows in told.items():
        seconds = sorted(row["seconds"] for row in rows)
        spread = {"low": seconds[0], "median": statistics.median(seconds), "high": seconds[-1]}
        told_too = [fact for fact in ("sampled", "calls", "rollout") if fact in rows[0]]
        facts = {fact: statistics.median(row[fact] for row in rows) for fact in told_too}
        summary[contestant] = {**spread, **facts, "peak": rows[-1]["peak"]}
    summary["update"] = statistics.median(row["update"] for row in ours)
    rounds = list(zip(ours, bare, trl, strict=True))
    summary["times_as_fast_as_trl"] = statistics.median(t["seconds"] / o["seconds"] for o, _, t in rounds)
    summary["update_over_bare"] = statistics.median(o["update"] / b["seconds"] for o, b, _ in rounds)
    return summary


def show(summary: dict[str, Any]) -> None:
    print(f"\n{summary['case']}")
    for name in CONTESTANTS:
        row = summary[name]
        spread = f"({row['low']:.1f} to {row['high']:.1f})"
        rollout = f"rollout {row['rollout']:5.1f} s" if "rollout" in row else ""
        sampled = (
            f"{row['sampled']:6.1f} tokens and {row['calls']:.2f} calls an episode" if "sampled" in row else ""
        )
        print(f"{name:9} {row['median']:6.1f} s {spread:>16}  peak {row['peak']:6,.0f} MB  {rollout}  {sampled}")
    print(f"agentgym's step is {summary['times_as_fast_as_trl']:.2f} times as fast as TRL's")
    print(
        f"agentgym's update ({summary['update']:.1f} s) takes {summary['update_over_bare']:.2f} times bare",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="steps after the warm-up")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    summaries = []
    for name in options.cases:
        summaries.append(summarise(name, measure(name, options.threads, options.steps)))
        show(summaries[-1])
    if options.json:
        versions = {name: distribution(name).version for name in ("torch", "transformers")} | {"trl": TRL}
        report = {"threads": options.threads, "versions": versions, "cases": summaries}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
