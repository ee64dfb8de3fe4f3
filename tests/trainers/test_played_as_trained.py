"""A checkpoint whose environment nobody names plays that of its run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from agentgym.config import build, to_table
from agentgym.envs.tasks.file import File
from agentgym.errors import ConfigError
from agentgym.models import nano
from agentgym.run import evaluate, resolve_settings
from agentgym.runlog import RunLog
from agentgym.trainers.checkpoint import save

TOLD = {"env": {"name": "sql", "max_turns": 3}, "max_completion_tokens": 77, "eval_temperature": 0.25}


def begin(folder: Path, **told: Any) -> Path:
    """The folder of checkpoints, with one in it, of a run that was told this."""
    RunLog(folder, to_table(resolve_settings(told, [])), resume=False).close()
    save(folder / "checkpoints", "step_3", nano.model(0), nano.tokenizer(), {"x": torch.zeros(1)}, {})
    return folder / "checkpoints"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return begin(tmp_path / "mine", **TOLD, batch_size=5, lora={"rank": 4})


def questions(file: Path, n: int) -> list[str]:
    """Writes so many; their ids."""
    rows = [{"id": f"{file.stem}-{i}", "question": f"{i}+1?", "answer": f"{i + 1}"} for i in range(n)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return [str(row["id"]) for row in rows]


def played(model: Path, **told: Any) -> Any:
    return resolve_settings({"model": str(model), **told}, [], plays=True)


@pytest.mark.parametrize("where", ["..", "step_3"])
def test_it_plays_what_it_was_trained_on(run: Path, where: str) -> None:
    settings = played(run / where)
    env = build("env", settings.env)
    assert (type(env).__name__, env.max_turns) == ("Sql", 3)
    assert (settings.max_completion_tokens, settings.eval_temperature) == (77, 0.25)
    assert settings.lora.rank == 0, "how it was trained is nothing to who plays it"


def test_what_is_said_is_on_top(run: Path) -> None:
    settings = played(run / "step_3", env={"max_rows": "7"}, max_completion_tokens="9")
    env = build("env", settings.env)
    assert (type(env).__name__, env.max_turns, env.max_rows) == ("Sql", 3, 7)
    assert settings.max_completion_tokens == 9


@pytest.mark.parametrize("told", [{"env": "maze"}, {"recipe": "search"}])
def test_who_names_what_is_played_gets_that_alone(run: Path, told: dict[str, Any]) -> None:
    alone = resolve_settings({"model": str(run / "step_3"), **told}, [])
    assert played(run / "step_3", **told) == alone
    assert alone.max_completion_tokens != 77


@pytest.mark.parametrize("folder", [".", "..", "step_3"])
def test_other_models_play_the_default(run: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / folder)  # wherever the command is typed
    assert played(Path("nano")) == resolve_settings({}, [], plays=True) == resolve_settings({}, [])


def test_training_goes_on_from_a_checkpoint_with_settings_of_its_own(run: Path) -> None:
    assert type(build("env", resolve_settings({"model": str(run / "step_3")}, []).env)).__name__ == "Retool"


def test_a_setting_that_its_environment_has_not_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="env sql: unknown key 'sandbx'"):
        played(run / "step_3", env={"sandbx": "local"})


async def test_what_it_learned_from_is_not_what_it_is_evaluated_on(tmp_path: Path) -> None:
    learned, others, more = (tmp_path / f"{name}.jsonl" for name in ("learned", "others", "more"))
    ids = {file: questions(file, 40) for file in (learned, others, more)}
    held = [task.id for task in File(str(learned)).draw(None, random.Random(0), "eval")]
    assert 0 < len(held) < 20

    async def evaluated(model: Path | str, **env: Any) -> list[str]:
        told = {"model": str(model), "max_completion_tokens": 1, "device": "cpu", **({"env": env} if env else {})}
        _, groups = await evaluate(resolve_settings(told, [], plays=True), None, 1)
        return [group.task.id for group in groups]

    run = begin(tmp_path / "run", env={"name": "think", "tasks": str(learned)}, recipe="grpo")
    assert await evaluated(run.parent) == held
    assert await evaluated(run / "step_3", name="think", tasks=str(learned)) == held
    assert await evaluated(run.parent, tasks=str(others)) == ids[others]
    assert await evaluated("nano", name="think", tasks=str(learned)) == ids[learned]

    two = {"name": "think", "tasks": str(learned), "eval_tasks": str(more)}
    assert await evaluated(begin(tmp_path / "two", env=two, recipe="grpo").parent) == ids[more]
    assert await evaluated("nano", **two) == ids[more]
