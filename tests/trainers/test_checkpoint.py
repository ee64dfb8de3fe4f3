"""Checkpoints are complete or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agentgym.errors import ConfigError
from agentgym.models import nano
from agentgym.trainers import checkpoint


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    return nano.model(0), nano.tokenizer()


def save(folder: Path, name: str, parts: tuple[Any, Any], value: float) -> Path:
    tensors = {"weight|a": torch.full((2, 3), value), "step|a": torch.tensor(value)}
    return checkpoint.save(folder, name, *parts, tensors, {"step": value})


def test_what_is_saved_is_loaded(tmp_path: Path, parts: tuple[Any, Any]) -> None:
    assert checkpoint.latest(tmp_path) is None
    save(tmp_path, "step_1", parts, 1.0)
    save(tmp_path, "step_2", parts, 2.0)
    found = checkpoint.latest(tmp_path)
    assert found == tmp_path / "step_2"
    tensors, state = checkpoint.load(found)
    assert state == {"step": 2.0}
    assert tensors["weight|a"].equal(torch.full((2, 3), 2.0))
    assert tensors["step|a"].shape == ()


def test_the_newest_are_kept_and_what_is_needed(tmp_path: Path, parts: tuple[Any, Any]) -> None:
    for number in (2, 4, 10, 12):
        save(tmp_path, f"step_{number}", parts, float(number))
    checkpoint.prune(tmp_path, 2, [""])
    assert {path.name for path in tmp_path.glob("step_*")} == {"step_10", "step_12"}
    save(tmp_path, "step_14", parts, 14.0)
    checkpoint.prune(tmp_path, 1, ["step_10"])
    assert {path.name for path in tmp_path.glob("step_*")} == {"step_10", "step_14"}
    checkpoint.prune(tmp_path, 5, [])
    assert checkpoint.latest(tmp_path) == tmp_path / "step_14"


def test_a_half_written_checkpoint_is_ignored(
    tmp_path: Path, parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever call of the file system a crash comes before, there is a whole checkpoint to go on from."""

    class Crash(BaseException):
        pass

    save(tmp_path, "step_1", parts, 1.0)
    for name in ("step_2", "step_1"):  # a new one, and one that replaces the latest
        for crash_at in range(1, 5):
            crashed = _save_and_crash(tmp_path, name, parts, crash_at, Crash, monkeypatch)
            found = checkpoint.latest(tmp_path)
            assert found is not None
            tensors, state = checkpoint.load(found)
            assert tensors["weight|a"].equal(torch.full((2, 3), state["step"]))
            save(tmp_path, "step_1", parts, 1.0)
            assert crashed or crash_at > 2
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == [
        "latest",
        "step_1",
        "step_2",
    ]


def _save_and_crash(
    folder: Path,
    name: str,
    parts: tuple[Any, Any],
    crash_at: int,
    crash: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> bool:
    calls = 0

    def counted(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == crash_at:
                raise crash
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for method in ("rename", "replace"):
            patch.setattr(Path, method, counted(getattr(Path, method)))
        try:
            save(folder, name, parts, 5.0)
        except crash:
            return True
    return False


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint to resume from"):
        checkpoint.load(tmp_path)
    (tmp_path / "trainer_state.json").write_text("{}")
    (tmp_path / "trainer_state.tensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ConfigError, match="no checkpoint to resume from"):
        checkpoint.load(tmp_path)


def test_the_packed_attention_is_no_property_of_what_is_saved(tmp_path: Path, parts: tuple[Any, Any]) -> None:
    from transformers import AutoModelForCausalLM

    from agentgym.trainers.learner import Learner

    model, tokenizer = nano.model(0), parts[1]
    Learner(model)
    mine = model.config._attn_implementation
    folder = checkpoint.save(tmp_path, "step_1", model, tokenizer, {"a": torch.zeros(1)}, {})
    assert model.config._attn_implementation == mine
    again = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(again(ids).logits, nano.model(0)(ids).logits)
