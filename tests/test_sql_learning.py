"""Recipe sql, whole: a policy that gives up learns to ask databases, with schemas that it has never seen."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from agentgym.runlog import read_metrics

from .learned import evaluate, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("sql", tmp_path_factory.mktemp("asking"))


def test_it_learns_to_look_at_the_schema_and_then_to_ask(run: Path) -> None:
    rows = {row["evaluation"]: row for row in read_metrics(run) if "evaluation" in row}
    assert rows["cold_start"]["eval/success"] <= 0.6
    success, groups = evaluate("sql", run)
    assert success >= 0.9
    calls = {
        changes: fmean(
            g.turns[-1].info["tool_calls"] for g in groups if (g.task.info["answers_with"] == "state") is changes
        )
        for changes in (False, True)
    }
    assert calls[False] > 1.5  # the schema, and the question
    assert calls[True] > calls[False] + 0.5


def test_by_what_the_database_says(run: Path) -> None:
    assert evaluate("sql", run, "env.tool_output=swapped")[0] <= 0.1
    assert evaluate("sql", run, "env.tool_output=off")[0] <= 0.1
