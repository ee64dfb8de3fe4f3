"""Checkpoints: Hugging Face's layout plus the trainer's state; complete or absent, never half-written.

A checkpoint is written beside its final name and renamed when every byte is on disk; `latest`, which names
the newest, is replaced last. Tensors are safetensors and all else is JSON: nothing is unpickled. The trainer's
have another suffix, since vLLM takes every `.safetensors` of a folder for the model's.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from agentgym.errors import ConfigError

STATE_FILE, TENSOR_FILE, LATEST = "trainer_state.json", "trainer_state.tensors", "latest"


def save(
    folder: Path, name: str, model: Any, tokenizer: Any, tensors: dict[str, Any], state: dict[str, Any]
) -> Path:
    """Write `folder/name` and point `folder/latest` at it."""
    from safetensors.torch import save_file

    final, draft = folder / name, folder / f".{name}.partial"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    implementation = model.config._attn_implementation
    model.config._attn_implementation = None  # packed attention is ours alone; others choose their own
    try:
        model.save_pretrained(draft)
    finally:
        model.config._attn_implementation = implementation
    tokenizer.save_pretrained(draft)
    save_file({k: v.contiguous() for k, v in tensors.items()}, draft / TENSOR_FILE)
    (draft / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
    for file in draft.rglob("*"):
        _sync(file)
    _sync(draft)
    replaced = _replaced(final)
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    draft.rename(final)
    _write_atomic(folder / LATEST, name + "\n")
    _sync(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    return final


def prune(folder: Path, keep: int, needed: Collection[str]) -> None:
    """Remove the oldest checkpoints but for `keep` and those in `needed`."""
    names = sorted((int(path.name[len("step_") :]), path) for path in folder.glob("step_*"))
    for _, path in names[:-keep]:
        if path.name not in needed:
            shutil.rmtree(path)


def amend(checkpoint: Path, state: dict[str, Any]) -> None:
    """Replace the state of a checkpoint whose tensors stay as they are."""
    _write_atomic(checkpoint / STATE_FILE, json.dumps(state))
    _sync(checkpoint)


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint; None when there is none."""
    pointer = folder / LATEST
    if not pointer.is_file():
        return None
    found = folder / pointer.read_text(encoding="utf-8").strip()
    if not found.exists() and _replaced(found).exists():  # `save` ended while it replaced this very one
        _replaced(found).rename(found)
    return found


def model_path(name: str) -> str:
    """A model by name or path; a run's directory stands for its newest checkpoint."""
    newest = latest(Path(name) / "checkpoints")
    return name if newest is None else str(newest)


def config_of_run(model: str) -> Path | None:
    """The settings of the run that `model`, a run's directory or a checkpoint, is of; None for any other model."""
    checkpoint = Path(model_path(model)).absolute()
    file = checkpoint.parent.parent / "config.toml"
    return file if checkpoint.is_dir() and checkpoint.parent.name == "checkpoints" and file.is_file() else None


def _replaced(checkpoint: Path) -> Path:
    """Where a checkpoint waits while another takes its name."""
    return checkpoint.with_name(f".{checkpoint.name}.replaced")


def load(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tensors, state) of a checkpoint that `save` wrote; raises ConfigError when it is not one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        return load_file(checkpoint / TENSOR_FILE), state
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"{checkpoint} is no checkpoint to resume from: {error}") from error


def _write_atomic(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.partial")
    draft.write_text(text, encoding="utf-8")
    _sync(draft)
    draft.replace(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
