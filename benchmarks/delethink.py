"""Does a policy think further than its window, by what it carries over, and what does that cost? Trains nano.

    python benchmarks/delethink.py learning [--seeds 5] [--jobs 1] [--json FILE]
        running sums over streams more than four windows long: success after the cold start and after RL; where
        each chunk begins with what another task's thought carried over; and of the trained policy cut off at the
        end of the first window and made to answer there
    python benchmarks/delethink.py cost [--json FILE] [--svg FILE]
        tokens computed, pairs of tokens attended over, and seconds, for thoughts of 2 to 32 windows: in chunks,
        and in one context that holds all

Every evaluation draws 256 tasks with a seed taken from the operating system after training ended. The thoughts
whose cost is measured are an untrained policy's: what they say has no influence on it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import runs
from rich.console import Console
from rich.table import Table

from agentgym.chart import Chart
from agentgym.chunks import Chunks
from agentgym.config import build
from agentgym.engine import Sample, Sampling
from agentgym.opening import open_policy
from agentgym.rollout.independent import Independent
from agentgym.run import resolve_settings
from agentgym.runlog import read_metrics
from agentgym.types import Group

TASKS = 256
Row = dict[str, Any]


def train(folder: Path, seed: int, words: Sequence[str]) -> tuple[list[Row], Path]:
    """One run, or the one that is there already: its metrics and its last checkpoint."""
    checkpoint, _ = runs.train("delethink", folder, f"seed{seed}", seed, list(words))
    return read_metrics(folder / f"seed{seed}"), checkpoint


class Swapped:
    """An engine that is shown, at the beginning of every chunk but the first, what another task's thought carried
    over at the same place. carried: by chunk, what thoughts carried over, with their tasks."""

    def __init__(
        self, engine: Any, carried: dict[int, list[tuple[str, tuple[int, ...]]]], rng: random.Random
    ) -> None:
        self.engine, self.carried, self.rng = engine, carried, rng
        self.chunk: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def sample(self, ids: Sequence[int], sampling: Sampling, *, session: str, parent: str | None) -> Sample:
        chunk = self.chunk[session] = self.chunk.get(session, -1) + 1
        if others := [tail for group, tail in self.carried.get(chunk, []) if group != session.split("/")[0]]:
            tail = self.rng.choice(others)
            ids = [*ids[: -len(tail)], *tail]
        sample: Sample = await self.engine.sample(ids, sampling, session=session, parent=parent)
        return sample


async def evaluate(checkpoint: Path, seed: int, words: Sequence[str]) -> Row:
    """Success in chunks, in chunks whose carry-over is another's, and cut off at the first window."""
    settings = resolve_settings({"env": "delethink", "model": str(checkpoint), "seed": seed}, [])
    env = build("env", settings.env)
    tasks = env.source().draw(TASKS, random.Random(f"eval {seed}"), "all")
    named = [(f"task{i}", task) for i, task in enumerate(tasks)]
    async with open_policy(settings) as (_, _, engine, manager):
        play = manager(settings.eval_temperature)
        groups = await play.run(Independent(), named, seed, 1)
        cut = [await answer_at_once(group, play, engine, seed) for group in groups]
        other = manager(settings.eval_temperature)
        other.engine = Swapped(engine, carried_over(groups, env.carry - env.head), random.Random(seed))
        swapped = await other.run(Independent(), named, seed, 1)
    window = max(len(group.turns[0].context) for group in groups) + env.chunk
    return {
        "in chunks": runs.success(groups),
        "carry-over swapped": runs.success(swapped),
        "cut off": statistics.fmean(cut),
        "guess": 1 / tasks[0].info["base"],
        "peak context": max(size for group in groups for size in group.context_sizes()),
        "window": window,
        "thought": statistics.fmean(sum(len(turn.action) for turn in group.turns) for group in groups),
    }


def carried_over(groups: Sequence[Group], latest: int) -> dict[int, list[tuple[str, tuple[int, ...]]]]:
    """What each chunk after the first began with, but for the prompt and the head."""
    found: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
    for group in groups:
        for chunk, turn in enumerate(group.turns):
            if turn.recalled is not None:
                found.setdefault(chunk, []).append((group.id, turn.recalled[-latest:]))
    return found


async def answer_at_once(group: Group, play: Any, engine: Any, seed: int) -> bool:
    """Whether the first number that the policy says is right, when its thought is cut off at the first window."""
    said = play.renderer.speak("\\boxed{", end=False)
    ids = [*group.seen(0), *group.turns[0].action.ids, *said]
    sample = await engine.sample(ids, Sampling(max_tokens=1, seed=seed))
    return sample.text == group.task.answer


def learning(folder: Path, seed: int, words: Sequence[str]) -> Row:
    """Train once and evaluate."""
    rows, checkpoint = train(folder, seed, words)
    start = next(row for row in rows if "evaluation" in row)["eval/success"]
    fresh = random.SystemRandom().getrandbits(31)
    found = asyncio.run(evaluate(checkpoint, fresh, words))
    return {"after the cold start": start, **found, "seconds": rows[-1]["time"] - rows[0]["time"]}


def table(rows: list[Row]) -> Table:
    """A row for each seed, and the medians with their spread."""
    out = Table("seed", *rows[0])
    for seed, row in enumerate(rows):
        out.add_row(str(seed), *(f"{value:.4g}" for value in row.values()))
    out.add_section()
    for name, pick in (("median", statistics.median), ("lowest", min), ("highest", max)):
        out.add_row(name, *(f"{pick([row[key] for row in rows]):.4g}" for key in rows[0]))
    return out


SEQUENCES = 8
PROMPT = 32


async def think(engine: Any, length: int, chunks: Chunks, name: str) -> int:
    """Sample a thought of so many tokens, whatever they are; the pairs of tokens that were attended over."""
    ids = [random.Random(name).randrange(engine.vocab_size) for _ in range(PROMPT)]
    said = pairs = held = 0  # held: ids whose keys are in the cache
    while said < length:
        room = min(length - said, PROMPT + chunks.size - len(ids))
        sample = await engine.sample(ids, Sampling(max_tokens=room, seed=said), session=name)
        ids += sample.tokens.ids  # an end of turn is gone on from
        pairs += sum(range(held + 1, len(ids)))  # the last has been sampled, and looked at nothing yet
        held, said = len(ids) - 1, said + len(sample.tokens)
        if len(ids) == PROMPT + chunks.size:
            ids, held = list(chunks.carry_over(ids, PROMPT)), PROMPT
    engine.release(name)
    return pairs


async def measure(length: int, chunks: Chunks, model: Any, tokenizer: Any) -> Row:
    """A batch of thoughts, in a fresh engine."""
    limit = PROMPT + chunks.size + 1
    engine = build("engine", {"name": "torch", "max_len": limit}).start(model, tokenizer)
    started = time.monotonic()
    pairs = await asyncio.gather(*(think(engine, length, chunks, f"{i}") for i in range(SEQUENCES)))
    seconds = time.monotonic() - started
    await engine.close()
    return {"tokens": (engine.prefilled + engine.decoded) / SEQUENCES, "pairs": pairs[0], "seconds": seconds}


def cost(window: int, windows: Sequence[int]) -> list[Row]:
    """In chunks and in one, for thoughts of so many windows."""
    from agentgym.models import nano

    model, tokenizer = nano.model(0), nano.tokenizer()
    model.config.max_position_embeddings = 2 * window * max(windows)
    rows = []
    for count in windows:
        length = count * window
        row: Row = {"windows": count, "length": length}
        for name, size in (("chunks", window), ("plain", length + 1)):
            found = asyncio.run(measure(length, Chunks(size, window // 2, 0, 10**6), model, tokenizer))
            row |= {f"{name}: {what}": value for what, value in found.items()}
        rows.append(row)
        Console().print(", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return rows


def plot(rows: list[Row]) -> str:
    """Pairs and seconds over the length of the thought, in chunks and in one, each on one scale."""
    style = (
        "<style>text{font:9px sans-serif}.curve,.unit{display:none}.grid{stroke:#ddd}"
        ".raw{fill:none;stroke-width:2}"
        ".chunks .raw{stroke:#2563eb}.plain .raw{stroke:#dc2626}</style>"
    )
    parts = []
    panels = (("pairs", "million pairs of tokens", 1e6), ("seconds", "seconds", 1))
    for place, (what, title, unit) in enumerate(panels):
        top = max(row[f"{name}: {what}"] for row in rows for name in ("chunks", "plain")) / unit
        parts.append(f'<g transform="translate(0 {220 * place})">')
        for name in ("chunks", "plain"):
            points = [(float(row["length"]), row[f"{name}: {what}"] / unit) for row in rows]
            chart = Chart(f"{name}: {title}", points, (0.0, points[-1][0]), include=(0.0, top)).svg()
            chart = chart.replace("<svg ", '<svg width="400" height="210" ', 1)
            parts.append(f'<g class="{name}">{chart}</g>')
        label = f"{title}, by tokens thought: chunks (blue), one context (red)"
        parts.append(f'<text x="46" y="10">{label}</text></g>')
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 430">{style}{"".join(parts)}</svg>'


def report_cost(options: argparse.Namespace) -> list[Row]:
    """Measure, and say how the cost of the longest thought compares with that of half of it."""
    windows = [2**i for i in range(1, options.doublings + 1)]
    rows = cost(options.window, windows)
    half, whole = rows[-2:]
    for name in ("chunks", "plain"):
        growth = {
            what: whole[f"{name}: {what}"] / half[f"{name}: {what}"] for what in ("tokens", "pairs", "seconds")
        }
        told = ", ".join(f"{what} x {value:.2f}" for what, value in growth.items())
        Console().print(f"{name}: from {half['length']} to {whole['length']} tokens of thought: {told}")
    if options.svg:
        options.svg.write_text(plot(rows), encoding="utf-8")
    return rows


def main() -> None:
    """Run what was asked for, print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("learning", "cost"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--jobs", type=int, default=1, help="seeds at the same time, a thread each if more than one"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument(
        "--window", type=int, default=256, help="of the cost: tokens of a chunk, half carried over"
    )
    parser.add_argument(
        "--doublings", type=int, default=5, help="of the cost: the longest thought has 2**N windows"
    )
    parser.add_argument("--output-dir", type=Path, help="keep the runs here, and go on with those that are here")
    parser.add_argument("words", nargs="*", help="key=value for `agentgym train`")
    options = parser.parse_args()
    if options.question == "cost":
        rows = report_cost(options)
    else:
        if options.jobs > 1:
            os.environ["OMP_NUM_THREADS"] = "1"
        folder = options.output_dir or Path(tempfile.mkdtemp(prefix="delethink-"))
        with ThreadPoolExecutor(options.jobs) as pool:
            rows = list(pool.map(lambda seed: learning(folder, seed, options.words), range(options.seeds)))
        Console().print(table(rows))
        Console().print(f"{TASKS} fresh tasks per evaluation; sampled at temperature 1; runs in {folder}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
