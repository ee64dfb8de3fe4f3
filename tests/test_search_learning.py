"""Recipe search, whole: a policy that guesses learns to search, in worlds that it has never seen."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from agentgym.runlog import read_metrics

from .learned import evaluate, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("search", tmp_path_factory.mktemp("searching"))


def test_it_learns_to_search_as_often_as_a_question_takes(run: Path) -> None:
    rows = {row["evaluation"]: row for row in read_metrics(run) if "evaluation" in row}
    assert rows["cold_start"]["eval/success"] <= 0.75
    success, groups = evaluate("search", run, "env.k=1")
    assert success >= 0.9
    calls = {
        hops: fmean(g.turns[-1].info["tool_calls"] for g in groups if g.task.info["hops"] == hops)
        for hops in (1, 2)
    }
    assert calls[2] > calls[1] + 0.5


def test_by_what_the_search_finds(run: Path) -> None:
    assert evaluate("search", run, "env.k=1", "env.tool_output=swapped")[0] <= 0.1
    assert evaluate("search", run, "env.k=1", "env.tool_output=off")[0] <= 0.1
