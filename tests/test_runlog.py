"""What a run leaves behind, and who may write there."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from agentgym.config import read_toml
from agentgym.errors import ConfigError
from agentgym.runlog import RunLog, group_from_json, group_to_json, read_forests, read_metrics
from agentgym.types import Group, Outcome, Task, Tokens, Turn


def forest(seed: int) -> Group:
    """A group with every kind of turn in it, and numbers that only an exact format keeps."""
    rng = random.Random(seed)

    def tokens(n: int, sampled: bool) -> Tokens:
        ids = tuple(rng.randrange(200_000) for _ in range(n))
        if not sampled:
            return Tokens(ids)
        return Tokens(
            ids, tuple(-rng.expovariate(1) for _ in ids), tuple(rng.random() for _ in ids), (7,) * len(ids)
        )

    group = Group(
        f"g{seed}", Task(f"t{seed}", [{"role": "user", "content": "é<|im_end|>\u2028\n\x00🙂"}], "1", {"a": [1]})
    )
    for parent, source, outcome in (
        (None, "on_policy", None),
        (0, "aided", Outcome.DONE),
        (0, "demo", Outcome.MAX_TOKENS),
        (None, "replay", Outcome.TOOL_TIMEOUT),
    ):
        turn = Turn(parent, tokens(3, False), tokens(rng.randrange(4), source != "demo"), reward=rng.random())
        turn.source, turn.outcome, turn.text, turn.observation = source, outcome, "</code>\r\n", "\u2029<"
        turn.signals, turn.info = {"return": 1 / 3}, {"success": True, "answer": None}
        turn.recalled = {"aided": (1, 2, 3), "demo": ()}.get(source)
        group.turns.append(turn)
    return group


def log(path: Path, resume: bool = False) -> RunLog:
    return RunLog(path, {"env": "retool", "lr": 1e-4}, resume=resume)


def test_forests_come_back_token_for_token(tmp_path: Path) -> None:
    run = log(tmp_path / "run")
    groups = [forest(seed) for seed in range(3)]
    assert read_forests(run.forests("step_1", groups)) == groups
    run.forests("step_1", groups[:1])
    assert read_forests(run.rollouts / "step_1.jsonl") == groups[:1]
    run.close()


def test_forests_of_older_runs_are_read(tmp_path: Path) -> None:
    row = group_to_json(forest(1))
    for turn in row["turns"]:
        del turn["recalled"]
    old = group_from_json(json.loads(json.dumps(row)))
    assert [turn.recalled for turn in old.turns] == [None] * 4
    assert [turn.action for turn in old.turns] == [turn.action for turn in forest(1).turns]


def test_metrics_are_cut_back_to_where_a_checkpoint_was_taken(tmp_path: Path) -> None:
    run = log(tmp_path / "run")
    for step in (1, 2, 3):
        run.metrics(step, {"loss": step / 7, "stage": "rl"})
    assert run.rows == 3
    run.close()
    file = tmp_path / "run" / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 4, "lo')
    again = log(tmp_path / "run", resume=True)
    again.forget_after(2)
    again.metrics(3, {"loss": 9.0})
    assert again.rows == 3
    again.close()
    rows = read_metrics(tmp_path / "run")
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1 / 7), (2, 2 / 7), (3, 9.0)]


def test_one_trainer_at_a_time(tmp_path: Path) -> None:
    first = log(tmp_path / "run")
    first.metrics(1, {"loss": 1.0})
    with pytest.raises(ConfigError, match="in use by another run"):
        log(tmp_path / "run", resume=True)
    first.close()
    log(tmp_path / "run", resume=True).close()
    with pytest.raises(ConfigError, match="resume=true"):
        log(tmp_path / "run")


def test_the_config_is_kept(tmp_path: Path) -> None:
    log(tmp_path / "run").close()
    assert read_toml(tmp_path / "run" / "config.toml", "run") == {"env": "retool", "lr": 1e-4}


def test_a_resume_that_does_not_come_to_pass_changes_no_settings(tmp_path: Path) -> None:
    RunLog(tmp_path / "run", {"model": "nano"}, resume=False).close()
    log = RunLog(tmp_path / "run", {"model": "other"}, resume=True)
    config = tmp_path / "run/config.toml"
    assert config.read_text() == 'model = "nano"\n'
    log.forget_after(0)  # its checkpoint is loaded
    assert config.read_text() == 'model = "other"\n'
    log.close()
