"""Does a manager learn what to remember, and an answerer to answer from it? Trains nano-memory; replays LoCoMo.

    python benchmarks/memory.py learn [--seeds 5] [--jobs 1] [--json FILE]
        After one cold start: both agents together, the manager beside the frozen answerer of the cold start, and
        the answerer beside that manager, frozen. Share of right answers on 256 fresh streams, beside scripts that
        are perfect, do nothing, add everything, and do anything, each with a perfect answerer; what the policy
        says when every memory is edited behind its back; what the manager did beside a perfect one
    python benchmarks/memory.py ppo
        After the same cold start: both agents by PPO with a critic
    python benchmarks/memory.py replay FOLDER
        LoCoMo and LongMemEval (their files are in FOLDER) with a manager that adds every turn: which share of the
        evidence is found, by kind of question, and what right answers and refusals are paid by LoCoMo's formulas

Streams of an evaluation are made with a seed taken from the operating system after training ended.
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
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from runs import agentgym

from agentgym import qa
from agentgym.config import build, read_toml, write_toml
from agentgym.envs import memory_demos
from agentgym.envs.memory import MANAGER, Memory, MemoryEnv
from agentgym.envs.worlds.names import SHORT_NAMES
from agentgym.protocols.memory_r1 import Operation, read_answered, write_answered, write_operations
from agentgym.recipes import recipes
from agentgym.run import resolve_settings
from agentgym.runlog import read_forests
from agentgym.services import Services
from agentgym.types import Group, Observation, Task

TASKS = 256
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
"""As LoCoMo's code numbers them."""
Row = dict[str, float]
PPO = [
    "stages.rl.group_size=1",
    "stages.rl.batch_size=64",
    'stages.rl.credit=[{name="weighted_sum", weights={return=1.0}}, "gae", "whiten"]',
    'stages.rl.losses=[{name="ppo_clip", clip_low=0.2, clip_high=0.28}, {name="value", coef=0.1}]',
    "stages.rl.sampler={name='uniform', drop_zero_spread=false}",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedMemory(Memory):
    """Before the first question every remembered value is replaced."""

    def make(self, services: Services) -> MemoryEnv:
        return EditedMemoryEnv(self, services)


class EditedMemoryEnv(MemoryEnv):
    """Of each question: follows: whether the answer is what the edited memories say; flips: whether that differs
    from what the others say."""

    async def show(self) -> Observation:
        if self._part == len(self.parts) and not self._answers:
            rng = random.Random(f"edited {self.task and self.task.id}")  # the id alone is the stream's own seed
            self.before = self.bank
            memories = (replace(m, text=_edit(m.text, rng)) if m.text else m for m in self.bank.memories)
            self.bank = replace(self.bank, memories=tuple(memories))
        return await MemoryEnv.show(self)

    def grade(self, question: Mapping[str, Any], answer: str | None) -> dict[str, Any]:
        old, new = (
            read_answered(memory_demos.answer(question, bank.memories)).answer for bank in (self.before, self.bank)
        )
        follows = answer is not None and qa.exact_match(answer, [new or ""])
        keeps = answer is not None and qa.exact_match(answer, [old or ""])
        return {**MemoryEnv.grade(self, question, answer), "follows": follows, "keeps": keeps, "flips": old != new}


def _edit(text: str, rng: random.Random) -> str:
    return text.removesuffix(f"{memory_demos.value(text)}.") + f"{rng.choice(SHORT_NAMES)}."


def train(folder: Path, name: str, seed: int, stage: str, words: list[str]) -> str:
    """One stage of recipe memory as a run of its own, or the run that is there already; its directory."""
    run = folder / name
    if not (run / "report.html").exists():  # written when all is done
        stages = [table for table in read_toml(recipes()["memory"], "recipe")["stages"] if table["name"] == stage]
        only = folder / f"{stage}.toml"
        only.write_text(write_toml({"stages": stages}), encoding="utf-8")
        where = [f"seed={seed}", f"output_dir={folder}", f"run_name={name}"]
        mine = [word for word in words if not word.startswith("stages.") or word.startswith(f"stages.{stage}.")]
        agentgym("train", "recipe=memory", "-c", str(only), *where, *mine)
    return str(run)


def evaluate(seed: int, words: list[str], env: str = "memory") -> list[Group]:
    """The episodes of `agentgym eval` on fresh streams."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "episodes.jsonl"
        base = ["eval", "recipe=memory", f"env={env}", "env.prompt=plain", f"seed={seed}", "-n", str(TASKS)]
        agentgym(*base, *words, "--save", str(file))
        return list(read_forests(file))


def right(groups: list[Group]) -> float:
    """Share of right answers."""
    return statistics.fmean(group.turns[-1].info.get("em", 0.0) for group in groups)


def learn(folder: Path, seed: int, words: list[str]) -> Row:
    """One cold start, and what can be learned after it."""
    cold = train(folder, f"cold{seed}", seed, "cold_start", words)
    start = [f"model={cold}", *words]
    both = train(folder, f"both{seed}", seed, "rl", start)
    manager = train(folder, f"manager{seed}", seed, "rl", [*start, f"partners.answerer={cold}"])
    answerer = train(folder, f"answerer{seed}", seed, "rl", [*start, f"partners.manager={manager}"])
    fresh = random.SystemRandom().getrandbits(31)
    played = evaluate(fresh, [f"model={both}"])
    save_confusion(folder / f"confusion{seed}.json", played)
    edited = evaluate(fresh, [f"model={both}"], f"{__file__}:EditedMemory")
    rows = [row for group in edited for row in group.turns[-1].info.get("each", ()) if row["flips"]]
    return {
        "cold start": right(evaluate(fresh, [f"model={cold}"])),
        "both": right(played),
        "manager": right(evaluate(fresh, [f"model={manager}", f"partners.answerer={cold}"])),
        "then answerer": right(evaluate(fresh, [f"model={answerer}", f"partners.manager={manager}"])),
        **{name: asyncio.run(script(fresh, manage)) for name, manage in SCRIPTS.items()},
        "edited: says the new": sum(row["follows"] for row in rows) / max(len(rows), 1),
        "edited: says the old": sum(row["keeps"] for row in rows) / max(len(rows), 1),
    }


def ppo(folder: Path, seed: int, words: list[str]) -> Row:
    """The same cold start, and PPO after it."""
    cold = train(folder, f"cold{seed}", seed, "cold_start", words)
    after = train(folder, f"ppo{seed}", seed, "rl", [f"model={cold}", *words, *PPO])
    fresh = random.SystemRandom().getrandbits(31)
    return {name: right(evaluate(fresh, [f"model={run}"])) for name, run in (("cold start", cold), ("PPO", after))}


QUESTIONS = {"learn": learn, "ppo": ppo}

Manage = Callable[[MemoryEnv, Mapping[str, Any], random.Random], list[Operation]]


def add_everything(env: MemoryEnv, part: Mapping[str, Any], rng: random.Random) -> list[Operation]:
    """What a fact's part says, as a memory would have it; all else as it is."""
    says = part.get("says")
    known = says and says["value"]
    return [Operation("ADD", text=f"{says['stem']} {says['value']}." if known else str(part["text"]))]


SCRIPTS: dict[str, Manage] = {
    "perfect": lambda env, part, rng: memory_demos.oracle(part, env.bank),
    "NOOP only": lambda env, part, rng: [],
    "ADD only": add_everything,
    "random": lambda env, part, rng: memory_demos.toss(part, env.bank, rng),
}


async def script(seed: int, manage: Manage) -> float:
    """Share of right answers of a scripted manager with a perfect answerer, on the streams of `evaluate`."""
    fields = resolve_settings({"env": "memory"}, []).env
    config = build("env", {**fields, "prompt": "plain", "tries": 1})
    scores = []
    async with Services() as services:
        for task in config.source().draw(TASKS, random.Random(f"eval {seed}"), "all"):
            env = config.make(services)
            scores.append((await play(env, task, manage, memory_demos.answer))["em"])
            await env.close()
    return statistics.fmean(scores)


async def play(env: MemoryEnv, task: Task, manage: Manage, answer: Callable[[Any, Any], str]) -> dict[str, Any]:
    """An episode by scripts: the info of its last step."""
    rng = random.Random(task.id)
    await env.reset(seed=0, options={"task": task})
    for part in env.parts:
        await env.step(write_operations(manage(env, part, rng)))
    for question in env.questions:
        result = await env.step(answer(question, env.shown))
    return result.info


def save_confusion(file: Path, groups: list[Group]) -> None:
    """What the manager did, by what a perfect one would have done."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group in groups:
        for turn in group.turns:
            if turn.agent == MANAGER:
                counts[_name(turn.info.get("oracle"))][_name(turn.info.get("events"))] += 1
    file.write_text(json.dumps(counts), encoding="utf-8")


def _name(events: list[str] | None) -> str:
    if events is None:
        return "impossible"
    return events[0] if len(events) == 1 else "several" if events else "NOOP"


def confusion(folder: Path) -> Table:
    """Over all seeds, in shares of each row."""
    total: dict[str, Counter[str]] = defaultdict(Counter)
    for file in sorted(folder.glob("confusion*.json")):
        for wanted, done in json.loads(file.read_text(encoding="utf-8")).items():
            total[wanted].update(done)
    columns = ["ADD", "UPDATE", "DELETE", "NOOP", "several", "impossible"]
    out = Table("perfect", *columns, "turns")
    for wanted in columns[:4]:
        row = total[wanted]
        shares = (f"{row[name] / max(row.total(), 1):.3f}" for name in columns)
        out.add_row(wanted, *shares, str(row.total()))
    return out


async def replay(folder: Path) -> Table:
    """Both sets, with a manager that adds every turn. Questions are answered right where 60 memories are shown,
    and refused where 10 are."""
    conversations, questions = folder / "locomo10_conversations.jsonl", folder / "locomo10_qa.jsonl"
    locomo = {"name": "locomo", "path": str(conversations), "questions": str(questions), "questions_each": None}
    sets = {
        "LoCoMo": locomo,
        "LongMemEval": {"name": "longmemeval", "path": str(folder / "longmemeval_sample.jsonl")},
    }
    columns = [f"{what}{shown}" for what in ("recall, shown ", "paid, shown ") for shown in (60, 10)]
    out = Table("questions", "number", *columns, "ms a step")
    for name, tasks in sets.items():
        rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        steps, started = 0, time.monotonic()
        for shown, say in ((60, _gold), (10, _refuse)):
            fields = {"candidates": shown, "score": "locomo" if name == "LoCoMo" else "f1", "prompt": "plain"}
            config = build("env", {"name": "memory", **fields, "tasks": {**tasks, "holdout": 0.0}})
            async with Services() as services:
                for task in config.source().draw(None, random.Random(0), "all"):
                    env = config.make(services)
                    info = await play(env, task, _add, say)
                    steps += len(env.parts) + len(env.questions)
                    _collect(rows, env, info["each"], shown)
                    await env.close()
        pace = (time.monotonic() - started) * 1000 / steps
        for kind, found in rows.items():
            cells = (f"{statistics.fmean(found[way]):.3f}" if found[way] else "" for way in columns)
            out.add_row(f"{name}, {kind}", str(len(found[columns[2]])), *cells, f"{pace:.1f}")
    return out


def _add(env: MemoryEnv, part: Mapping[str, Any], rng: random.Random) -> list[Operation]:
    return [Operation("ADD", text=str(part["text"]))]


def _gold(question: Mapping[str, Any], shown: Any) -> str:
    return write_answered([], str(question["answer"]))


def _refuse(question: Mapping[str, Any], shown: Any) -> str:
    return write_answered([], "No information available")


def _collect(rows: Any, env: MemoryEnv, each: list[dict[str, Any]], shown: int) -> None:
    for question, facts in zip(env.questions, each, strict=True):
        kind = CATEGORIES.get(question.get("category", 0), question.get("question_type"))
        for group in (str(kind), "all"):
            rows[group][f"paid, shown {shown}"].append(facts[env.config.score])
            if "recall" in facts:
                rows[group][f"recall, shown {shown}"].append(facts["recall"])


def table(rows: list[Row]) -> Table:
    """A row for each measure, with the seeds and their median."""
    out = Table("right answers", *(f"seed {seed}" for seed in range(len(rows))), "median")
    for name in rows[0]:
        values = [row[name] for row in rows]
        out.add_row(name, *(f"{value:.3f}" for value in values), f"{statistics.median(values):.3f}")
    return out


def main() -> None:
    """Run the seeds, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="question", required=True)
    for name in QUESTIONS:
        training = kinds.add_parser(name)
        training.add_argument("--seeds", type=int, default=5)
        training.add_argument(
            "--jobs", type=int, default=1, help="seeds at the same time, a thread each if more than one"
        )
        training.add_argument("--json", type=Path)
        training.add_argument(
            "--output-dir", type=Path, help="keep the runs here, and go on with those that are here"
        )
        training.add_argument("words", nargs="*", help="key=value for `agentgym train`")
    kinds.add_parser("replay").add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.question == "replay":
        Console().print(asyncio.run(replay(options.folder)))
        return
    if options.jobs > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    folder = options.output_dir or Path(tempfile.mkdtemp(prefix="memory-"))
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        asked = QUESTIONS[options.question]
        rows = list(pool.map(lambda seed: asked(folder, seed, options.words), range(options.seeds)))
    Console().print(table(rows))
    if options.question == "learn":
        Console().print(confusion(folder))
    Console().print(f"{TASKS} fresh streams per evaluation; sampled at temperature 1; runs in {folder}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
