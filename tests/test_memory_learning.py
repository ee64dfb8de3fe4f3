"""Recipe memory, whole: agents that do anything learn what to remember, and to answer from it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest

from agentgym.runlog import read_forests, read_metrics
from agentgym.types import Group

from .learned import agentgym, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("memory", tmp_path_factory.mktemp("memory"))


def play(run: Path, env: str = "memory") -> list[Group]:
    """256 streams that the run has not evaluated on."""
    episodes = run / "episodes.jsonl"
    base = ("eval", "recipe=memory", f"env={env}", f"model={run}", "env.prompt=plain", "seed=987", "-n", "256")
    agentgym(*base, "--save", str(episodes))
    return list(read_forests(episodes))


def test_it_learns_what_to_remember(run: Path) -> None:
    rows = {row["evaluation"]: row for row in read_metrics(run) if "evaluation" in row}
    assert rows["cold_start"]["eval/success"] + 0.1 < rows["rl"]["eval/success"]
    groups = play(run)
    assert fmean(group.turns[-1].info.get("em", 0.0) for group in groups) >= 0.9
    done = Counter(
        (turn.info["oracle"] == turn.info["events"], bool(turn.info["oracle"]))
        for group in groups
        for turn in group.turns
        if turn.agent == "manager"
    )
    assert done[True, True] > 9 * done[False, True], "it does what a perfect manager does"


def test_the_answers_are_those_of_the_memories_also_where_they_were_edited_behind_its_back(run: Path) -> None:
    groups = play(run, f"{Path(__file__).parents[1] / 'benchmarks' / 'memory.py'}:EditedMemory")
    rows = [row for group in groups for row in group.turns[-1].info.get("each", ()) if row["flips"]]
    assert len(rows) > 200
    assert fmean(row["follows"] for row in rows) >= 0.9
    assert fmean(row["keeps"] for row in rows) <= 0.05
