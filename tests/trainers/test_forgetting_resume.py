"""A run in an environment that takes things back, killed and resumed, and what it leaves on disk."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from agentgym.runlog import read_forests

from .test_resume import LEARN, Runs

pytestmark = pytest.mark.slow
ENV = f"env={Path(__file__).parents[1] / 'rollout' / 'forgetful.py'}:Forgetful"


def test_killed_and_resumed_is_as_uninterrupted(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.finish("whole", ENV)
    killed = runs.run("mine", ENV, stop=(LEARN, 7, signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert runs.latest("mine") == "step_6"
    runs.finish("mine", ENV, "resume=true")
    assert runs.digest("mine", "step_8") == runs.digest("whole", "step_8") != runs.digest("whole", "step_6")

    groups = read_forests(tmp_path / "mine" / "rollouts" / "step_8.jsonl")
    told = [(g.turns[turn.parent], turn) for g in groups for turn in g.turns if turn.parent is not None]
    assert any(turn.recalled for _, turn in told)
    for parent, turn in told:
        assert (turn.recalled is not None) == parent.info["forget"]
        assert turn.recalled is None or turn.recalled[-len(parent.action) :] == parent.action.ids
