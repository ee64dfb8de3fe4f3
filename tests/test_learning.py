"""The main job, whole: a policy that guesses learns to use the interpreter, and it is the interpreter it uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentgym.runlog import read_metrics

from .learned import agentgym, train

pytestmark = pytest.mark.slow
HARD = "env.tasks={name='arith',easy_fraction=0.0}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("retool", tmp_path_factory.mktemp("learning"))


def evaluate(run: Path, *words: str) -> dict[str, Any]:
    """256 tasks that the run has not evaluated on."""
    checkpoint = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    base = (
        "eval",
        "env=retool",
        f"model={checkpoint}",
        "seed=987",
        "max_completion_tokens=96",
        "-n",
        "256",
        "--json",
    )
    result: dict[str, Any] = json.loads(agentgym(*base, *words))
    return result


def test_it_learns(run: Path) -> None:
    rows = {row["evaluation"]: row for row in read_metrics(run) if "evaluation" in row}
    assert rows["cold_start"]["eval/success"] <= 0.7
    assert evaluate(run)["success"] >= 0.8


def test_by_what_the_interpreter_says(run: Path) -> None:
    on = evaluate(run, HARD)
    assert on["success"] >= 0.8
    assert on["tool_calls"] >= 0.9  # counted by the sandbox
    assert evaluate(run, HARD, "env.tool_output=swapped")["success"] <= 0.1
    assert evaluate(run, HARD, "env.tool_output=off")["success"] <= 0.1
