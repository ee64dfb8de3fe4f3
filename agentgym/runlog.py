"""The run directory: everything a run leaves behind, written as it happens.

runs/<name>/: config.toml, metrics.jsonl, rollouts/step_*.jsonl (the forests, token-exact),
checkpoints/step_N/, tensorboard/, report.html.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from agentgym.config import read_toml, write_toml
from agentgym.errors import ConfigError
from agentgym.types import Group, Outcome, Task, Tokens, Turn


class Log(Protocol):
    """What a run leaves behind, as the trainer sees it. rows: of metrics, written so far."""

    rows: int

    @property
    def checkpoints(self) -> Path: ...

    def forget_after(self, rows: int) -> None: ...

    def metrics(self, step: int, values: Mapping[str, Any]) -> None: ...

    def forests(self, name: str, groups: Sequence[Group]) -> Path | None: ...

    def close(self) -> None: ...


class NoLog:
    """Of a process beside the one that writes the directory."""

    rows = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """To read from."""
        return self.path / "checkpoints"

    def forget_after(self, rows: int) -> None: ...

    def metrics(self, step: int, values: Mapping[str, Any]) -> None: ...

    def forests(self, name: str, groups: Sequence[Group]) -> None: ...

    def close(self) -> None: ...


class RunLog:
    """An open run directory; a second trainer on it is refused. rows: written to metrics.jsonl."""

    def __init__(self, path: Path, config: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        check_directory(path, resume=resume)
        try:
            for folder in (path, self.rollouts, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
        except OSError as error:
            raise ConfigError(f"output_dir: cannot write to {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{path} is in use by another run") from error
        draft = path / ".config.toml.partial"
        draft.write_text(write_toml(config), encoding="utf-8")
        if not resume:
            self._keep_config()
        self._metrics = (path / "metrics.jsonl").open("a", encoding="utf-8")
        self.rows = 0
        self._board: Any = None

    @property
    def rollouts(self) -> Path:
        """Folder of the recorded forests."""
        return self.path / "rollouts"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def _keep_config(self) -> None:
        draft = self.path / ".config.toml.partial"
        if draft.exists():
            draft.replace(self.path / "config.toml")

    def forget_after(self, rows: int) -> None:
        """Keep the first `rows` rows of the metrics: a resumed run writes again what came after them. From here on
        the run has the settings that it was resumed with."""
        self._keep_config()
        file = self.path / "metrics.jsonl"
        kept = file.read_text(encoding="utf-8").splitlines(keepends=True)[:rows]
        self._metrics.close()
        draft = file.with_name(".metrics.jsonl.partial")
        draft.write_text("".join(kept), encoding="utf-8")
        draft.replace(file)
        self._metrics = file.open("a", encoding="utf-8")
        self.rows = rows

    def metrics(self, step: int, values: Mapping[str, Any]) -> None:
        """Append a row; numbers also go to TensorBoard."""
        self._metrics.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
        self._metrics.flush()
        self.rows += 1
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.path / "tensorboard"))
        for name, value in values.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._board.add_scalar(name, value, step)

    def forests(self, name: str, groups: Sequence[Group]) -> Path:
        """Write groups to rollouts/<name>.jsonl."""
        file = self.rollouts / f"{name}.jsonl"
        write_forests(file, groups)
        return file

    def close(self) -> None:
        """Flush and release the directory."""
        if self._board is not None:
            self._board.close()
        self._metrics.close()
        self._lock.close()


def check_directory(path: Path, *, resume: bool) -> None:
    """Raises ConfigError for a run directory that is taken or cannot be written; changes nothing."""
    if (path / "config.toml").exists() and not resume:
        raise ConfigError(f"{path} holds a run already; resume=true goes on with it, another run_name starts anew")
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ConfigError(f"output_dir: cannot write to {path}: {there} is not a folder that can be written")


def stage_names(path: Path) -> list[str]:
    """The stages of a run, in order."""
    return [stage["name"] for stage in read_toml(path / "config.toml", "run").get("stages", [])]


def ends(stages: Sequence[str], evaluations: Collection[str]) -> list[str]:
    """The evaluations that ended the first and the last of `stages`; one or none where there are no more."""
    done = [name for name in stages if name in evaluations]
    return list(dict.fromkeys(done[:1] + done[-1:]))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def untaught(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many steps of each stage had no group to learn from, in words; empty where all had one."""
    steps = Counter(row["stage"] for row in rows if "stage" in row)
    learned = Counter(row["stage"] for row in rows if "stage" in row and "grad_norm" in row)
    lack = {stage: made - learned[stage] for stage, made in steps.items()}
    idle = [f"{lack[stage]} of {made} steps of {stage}" for stage, made in steps.items() if lack[stage]]
    return f"no group to learn from in {', '.join(idle)}" if idle else ""


def write_forests(file: Path, groups: Sequence[Group]) -> None:
    """Write groups as JSON lines; `read_forests` gives them back."""
    draft = file.with_name(f".{file.name}.partial")
    with draft.open("w", encoding="utf-8") as out:
        for group in groups:
            out.write(json.dumps(group_to_json(group)) + "\n")
    draft.replace(file)


def group_to_json(group: Group) -> dict[str, Any]:
    """A group as plain values; `group_from_json` gives it back, token for token."""
    return dataclasses.asdict(group)


def group_from_json(row: Mapping[str, Any]) -> Group:
    """The group that `group_to_json` wrote."""
    turns = []
    for turn in row["turns"]:
        parts: dict[str, Any] = {k: _tokens(turn[k]) for k in ("context", "action")}
        parts["outcome"] = Outcome(turn["outcome"]) if turn["outcome"] else None
        recalled = turn.get("recalled")  # runs recorded before there was such a thing have none
        parts["recalled"] = None if recalled is None else tuple(recalled)
        turns.append(Turn(**{**turn, **parts}))
    return Group(id=row["id"], task=Task(**row["task"]), turns=turns)


def _tokens(row: Mapping[str, Any]) -> Tokens:
    # runs recorded before each token had a version of its own have no versions
    lists = {k: None if row.get(k) is None else tuple(row[k]) for k in ("logprobs", "entropy", "versions")}
    return Tokens(tuple(row["ids"]), **lists)


def read_forests(file: Path) -> list[Group]:
    """The groups of a rollouts file."""
    return [group_from_json(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
