"""Does a policy learn to search, to judge what it finds, and to search only where it must? Trains nano-search.

    python benchmarks/searching.py search [--seeds 5] [--jobs 1] [--json FILE]
        Search-R1's setting: success on worlds drawn after training with the search on, swapped and off, and the
        searches that questions of one and of two hops take
    python benchmarks/searching.py judge
        ReSeek's: six in ten of the results lead astray, and a context has no room for all of them; those judged
        useless are dropped, or it is searched plainly, with equally many rollouts; beside policies that believe
        everything and nothing
    python benchmarks/searching.py calls
        UR2's: half of the tasks bring their answer along; how often each kind searches, as a server counts it

Every evaluation draws 256 questions about worlds that are made with a seed taken from the operating system after
training ended.
"""

from __future__ import annotations

import asyncio
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from runs import TASKS, Row, after, agentgym, evaluate, main, success, train

from agentgym.config import build
from agentgym.services import Services
from agentgym.types import Group


def calls(groups: list[Group], key: str, value: object) -> float:
    """Mean searches of the tasks whose info has the value."""
    return statistics.fmean(g.turns[-1].info.get("tool_calls", 0) for g in groups if g.task.info[key] == value)


def search(folder: Path, seed: int, words: list[str]) -> Row:
    """Train once; evaluate with the search on, swapped and off."""
    checkpoint, seconds = train("search", folder, f"search{seed}", seed, words)
    fresh = random.SystemRandom().getrandbits(31)
    modes = ("on", "swapped", "off")
    played = {
        mode: evaluate("search", checkpoint, fresh, ["env.k=1", f"env.tool_output={mode}"]) for mode in modes
    }
    return {
        "after the cold start": after(folder / f"search{seed}", "cold_start"),
        **{mode: success(groups) for mode, groups in played.items()},
        **{f"searches, {hops} hop{'s' * (hops > 1)}": calls(played["on"], "hops", hops) for hops in (1, 2)},
        "seconds": seconds,
    }


MISLEAD = 0.6
MAX_TURNS = 7  # six searches: one in twenty of the episodes finds nothing useful
ASTRAY = [
    "env.k=1",
    f"env.mislead={MISLEAD}",
    f"env.max_turns={MAX_TURNS}",
    "engine.max_len=96",  # two searches and an answer; or, where results are dropped, four
    "env.tasks={name='fictional', hops=[1], misleading=1.0, astray=['hearsay', 'former']}",
]
JUDGED = [
    "env.judge=drop",
    'stages.rl.signals=["env_return", "judgements"]',
    'stages.rl.credit=[{name="weighted_sum", weights={return=1.0, judge_correctness=1.0}}, "group_relative"]',
]


def judge(folder: Path, seed: int, words: list[str]) -> Row:
    """Train with judgements and without; evaluate both and two that do not think on the same tasks."""
    demos = ["env.demo_error_rate=0.6", "env.demo_direct_rate=0"]
    shared = [*ASTRAY, *demos, "stages.cold_start.lr_schedule=constant", "stages.rl.steps=80", *words]
    judged, seconds = train("search", folder, f"judged{seed}", seed, [*shared, *JUDGED])
    plain, _ = train("search", folder, f"plain{seed}", seed, shared)
    fresh = random.SystemRandom().getrandbits(31)
    groups = evaluate("search", judged, fresh, [*ASTRAY, "env.judge=drop"])
    return {
        "judged": success(groups),
        "plain": success(evaluate("search", plain, fresh, ASTRAY)),
        "always yes": asyncio.run(unthinking(fresh, "yes")),
        "always no": asyncio.run(unthinking(fresh, "no")),
        "balanced accuracy": balanced(groups),
        "seconds": seconds,
    }


def balanced(groups: list[Group]) -> float:
    """Mean of the shares of useful and of useless results that were judged right."""
    judged = [turn.info for group in groups for turn in group.turns if "judged" in turn.info]
    return statistics.fmean(
        statistics.fmean((info["judged"] == "yes") == useful for info in judged if info["useful"] == useful)
        for useful in (True, False)
    )


async def unthinking(seed: int, verdict: str) -> float:
    """Success of a script that searches and answers without a mistake, and judges every result the same."""
    tasks = {"name": "fictional", "misleading": 1.0, "hops": [1], "astray": ["hearsay", "former"]}
    fields = {"k": 1, "mislead": MISLEAD, "max_turns": MAX_TURNS, "judge": "drop", "prompt": "plain"}
    config = build("env", {"name": "search", "tasks": tasks, **fields})
    wins = []
    async with Services() as services:
        for number, task in enumerate(config.source().draw(TASKS, random.Random(f"eval {seed}"), "all")):
            env = config.make(services)
            await env.reset(seed=hash((seed, number)), options={"task": task})
            query = f"<search>{task.info['subject']} {task.info['words'][0]}</search>"
            result = await env.step(query)
            while verdict == "no" and not result.truncated:
                result = await env.step(f"<judge>No</judge>{query}")
            if verdict == "yes":
                read = [
                    p.more["value"]
                    for p in env.search.found[-1]
                    if p.more.get("fact") == task.info["gold_doc_ids"][0]
                ]
                result = await env.step(f"<judge>Yes</judge><answer>{(read or ['unknown'])[0]}</answer>")
            wins.append(bool(result.info["success"]))
            await env.close()
    return statistics.fmean(wins)


EASY = "env.tasks={name='fictional', hops=[1], easy_fraction=0.5}"
FEW = [
    "env.demo_easy_rate=0.5",  # so that the cold start ends with a policy that often searches in vain
    "stages.cold_start.steps=1000",
    "stages.rl.steps=200",
    'stages.rl.signals=["success", "tool_calls", "malformed_calls", {name="tag_format", call_tags=["search"], '
    'result_tag="information", think=false, boxed=false}]',
    'stages.rl.credit=[{name="ur2_reward", stage=1, easy_call=1.0}, '
    '{name="ur2_reward", stage=2, score="success"}, '
    '"group_relative"]',
]


def calls_where_needed(folder: Path, seed: int, words: list[str]) -> Row:
    """Train on easy and hard tasks; evaluate each kind against a search server, which counts."""
    checkpoint, seconds = train("search", folder, f"calls{seed}", seed, [EASY, *FEW, *words])
    row: Row = {}
    for level, share in (("easy", 1.0), ("hard", 0.0)):
        world = folder / f"world-{level}-{seed}"
        fresh = random.SystemRandom().getrandbits(31)
        agentgym("init", "world", str(world), f"seed={fresh}", "passages=1000", "hops=[1]",
                 f"questions={TASKS}", f"easy_fraction={share}")  # fmt: skip
        with Server(world / "corpus.jsonl") as server:
            groups = evaluate("search", checkpoint, fresh, [
                f"env.tasks={world / 'questions.jsonl'}", "env.retriever=http", f"env.retriever.url={server.url}",
                "env.k=1",
            ])  # fmt: skip
            asked = server.queries()
        searched = statistics.fmean(group.turns[-1].info.get("tool_calls", 0) > 0 for group in groups)
        row |= {f"{level}: right": success(groups), f"{level}: searched": searched}
        row |= {f"{level}: queries the server had": asked / len(groups)}
    return {**row, "seconds": seconds}


class Server:
    """`agentgym serve retriever=bm25s` over a corpus."""

    def __init__(self, corpus: Path) -> None:
        words = [f"retriever.corpus={corpus}", f"retriever.index={corpus.parent / 'index'}", "port=0"]
        self._command = [sys.executable, "-m", "agentgym", "serve", "retriever=bm25s", *words]

    def __enter__(self) -> Server:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://\S+", line):
                self.url = found[0]
                return self
        raise SystemExit("the server did not start")

    def queries(self) -> float:
        """How many queries it was asked."""
        with urlopen(f"{self.url}/metrics") as answer:
            text = answer.read().decode()
        return float(re.findall(r"^agentgym_retriever_queries_total (\S+)$", text, re.MULTILINE)[0])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


QUESTIONS: dict[str, Callable[[Path, int, list[str]], Row]] = {
    "search": search,
    "judge": judge,
    "calls": calls_where_needed,
}


if __name__ == "__main__":
    main(__doc__, "searching", QUESTIONS)
