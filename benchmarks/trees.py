"""What a forest of ARPO's shape costs when shared prefixes are computed once, and when they are not.

A prompt of 256 tokens, about what explaining a tool takes, and 16 trajectories of 4 turns (64 tokens sampled, 48
observed in each, on average); 8 start from the prompt, others fork from them after a tool's result, each path with
probability 0.5 until there are 16.

training: forward and backward pass of agentgym's learner with `packing=tree` and `packing=flat`, each in a process
    of its own, one forest in turn, so that a slow minute hits both; the first of each warms up and does not count.
    On a busy machine compare processor seconds, with --threads 1. Memory is the most that the process held beyond
    what it held with its model loaded. The gradients of the last forest are compared.
sampling: tokens that engine=torch prefills for the forest; for as many independent trajectories from the prompt,
    whose prompt it computes once; and for those trajectories without anything shared.

    python benchmarks/trees.py --threads 2 --json trees.json
    python benchmarks/trees.py --prompt 512       # any number of the shape
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, fields
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from arpo_forest.forest import SIZES, Shape
from arpo_forest.sample import sampled

LAYOUTS = ("tree", "flat")
WORKER = Path(__file__).parent / "arpo_forest" / "learn.py"


class Contestant:
    """A process that computes a forest's gradient when told its seed."""

    def __init__(self, layout: str, size: str, shape: Shape, threads: int, gradient: Path) -> None:
        arguments = [layout, size, str(threads), json.dumps(asdict(shape)), str(gradient)]
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )

    def step(self, seed: int) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("a contestant died; its error is above")
        told: dict[str, float] = json.loads(answer)
        return told

    def close(self) -> None:
        self.process.communicate()


def gradients_differ(files: list[Path]) -> float:
    """Norm of the difference over the norm, largest over the parameters."""
    import torch

    ours, theirs = (torch.load(file) for file in files)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in ours)


def train(size: str, shape: Shape, threads: int, repeat: int) -> dict[str, Any]:
    """What both layouts told about each forest but the first, and how much their last gradients differ."""
    told: dict[str, list[dict[str, float]]] = {layout: [] for layout in LAYOUTS}
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / layout for layout in LAYOUTS]
        running = [Contestant(c, size, shape, threads, f) for c, f in zip(LAYOUTS, files, strict=True)]
        for seed in range(repeat + 1):
            for layout, contestant in zip(LAYOUTS, running, strict=True):
                told[layout].append(contestant.step(seed))
        for contestant in running:
            contestant.close()
        return {"steps": {c: rows[1:] for c, rows in told.items()}, "difference": gradients_differ(files)}


def summarise(steps: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians and spreads, and of flat over tree the median and spread of the ratios, forest by forest."""
    summary: dict[str, Any] = {}
    for fact in ("tokens", "padded", "seconds", "cpu", "more"):
        rows = {layout: [row[fact] for row in steps[layout]] for layout in LAYOUTS}
        rows["ratio"] = [flat / tree for tree, flat in zip(rows["tree"], rows["flat"], strict=True)]
        summary[fact] = {k: [min(v), statistics.median(v), max(v)] for k, v in rows.items()}
    return summary


def sample(shape: Shape, repeat: int) -> dict[str, Any]:
    """Prefilled and decoded tokens in each way, and how many times the forest's the others are."""
    counts = [sampled(shape, seed) for seed in range(1, repeat + 1)]
    summary: dict[str, Any] = {}
    for way in counts[0]:
        for fact in ("prefilled", "decoded"):
            values = [count[way][fact] for count in counts]
            ratios = [count[way][fact] / count["forest"][fact] for count in counts]
            spreads = [[min(v), statistics.median(v), max(v)] for v in (values, ratios)]
            summary.setdefault(way, {})[fact] = dict(zip(("tokens", "ratio"), spreads, strict=True))
    return summary


LABELS = {
    "tokens": ("tokens computed", "{:,.0f}"),
    "padded": ("with padding", "{:,.0f}"),
    "seconds": ("seconds, forward and backward", "{:.2f}"),
    "cpu": ("processor seconds of it", "{:.2f}"),
    "more": ("peak memory beyond the model, MB", "{:,.0f}"),
}


def spread(values: list[float], form: str) -> str:
    low, median, high = (form.format(value) for value in values)
    return f"{median} ({low} to {high})"


def show(size: str, summary: dict[str, Any], difference: float) -> None:
    print(f"\n{'training, ' + size:34}{'tree':>24}{'flat':>24}{'flat / tree':>24}")
    for fact, (label, form) in LABELS.items():
        columns = [spread(summary[fact][k], f) for k, f in (("tree", form), ("flat", form), ("ratio", "{:.2f}"))]
        print(f"{label:34}" + "".join(f"{column:>24}" for column in columns))
    print(f"gradients differ by {difference:.1e} of their norm", flush=True)


def show_sampling(summary: dict[str, Any]) -> None:
    print(f"\n{'sampling':34}{'prefilled':>24}{'decoded':>24}{'prefilled / forest':>24}")
    for way, facts in summary.items():
        columns = [spread(facts[fact]["tokens"], "{:,.0f}") for fact in ("prefilled", "decoded")]
        columns.append(spread(facts["prefilled"]["ratio"], "{:.2f}"))
        print(f"{way:34}" + "".join(f"{column:>24}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5, help="forests after the warm-up")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    for field in fields(Shape):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shape = Shape(**{field.name: getattr(options, field.name) for field in fields(Shape)})
    report: dict[str, Any] = {"shape": asdict(shape), "threads": options.threads, "training": {}}
    for size in options.sizes:
        result = train(size, shape, options.threads, options.repeat)
        report["training"][size] = result | {"summary": summarise(result["steps"])}
        show(size, report["training"][size]["summary"], result["difference"])
    report["sampling"] = sample(shape, options.repeat)
    show_sampling(report["sampling"])
    if options.json:
        report["versions"] = {name: distribution(name).version for name in ("torch", "transformers")}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
