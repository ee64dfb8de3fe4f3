"""A run in several processes is the run of one: started by torchrun, killed, resumed by another number of them.

In float64, where sums in another order differ by too little to change what is sampled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agentgym.runlog import read_forests, read_metrics

from .torchrun import torchrun

RECIPE = """
group_size = 4
batch_size = 3
max_completion_tokens = 12

[[stages]]
name = "cold_start"
rollout = "demonstrations"
pool = 5
steps = 4
batch_size = 3
group_size = 1
lr = 3e-3
sampler = { name = "uniform", drop_zero_spread = false }
losses = ["sft"]

[[stages]]
name = "rl"
steps = 4
lr = 1e-3
signals = ["SIGNAL:Even"]
credit = [{ name = "weighted_sum", weights = { even = 1.0 } }, "group_relative"]
losses = ["ppo_clip", { name = "kl", coef = 0.1 }]
"""
SIGNAL = '''
from dataclasses import dataclass

@dataclass(frozen=True)
class Even:
    """The share of a trajectory's tokens with even ids."""

    async def __call__(self, group, services):
        for turns in group.trajectories():
            ids = [i for turn in turns for i in turn.action.ids]
            turns[-1].signals["even"] = sum(i % 2 == 0 for i in ids) / len(ids)
'''
KILLED = """
import os, signal, sys
from agentgym.trainers.trainer import Trainer

rank, at = sys.argv[1:3]
step, calls = Trainer._step, 0

async def stop(*args):
    global calls
    calls += 1
    if calls == int(at) and os.environ.get("OWN_RANK", "0") == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    return await step(*args)

Trainer._step = stop
os.environ["OWN_RANK"] = os.environ.get("RANK", "0")
sys.argv[1:] = sys.argv[3:]
from agentgym.cli import main
main()
"""
TIMES = {"time", "seconds_rollout", "seconds_update", "seconds_publish", "engine_idle", "tokens_per_second"}


class Runs:
    """Of one small recipe: two stages, four steps each, a checkpoint every second step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "even.py").write_text(SIGNAL)
        (folder / "recipe.toml").write_text(RECIPE.replace("SIGNAL", str(folder / "even.py")))
        (folder / "killed.py").write_text(KILLED)

    def run(
        self, size: int, name: str, *more: str, kill: tuple[int, int] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """kill: a rank, and the call of `Trainer._step` at which it dies."""
        words = ["train", f"recipe={self.folder}/recipe.toml", "env=maze", "device=cpu", "dtype=float64"]
        words += ["save_every=2", "eval_tasks=3", "microbatch_tokens=256", f"output_dir={self.folder}"]
        words += [f"run_name={name}", *more]
        start = [str(self.folder / "killed.py"), *map(str, kill)] if kill else ["-m", "agentgym"]
        if size > 1:
            return torchrun(size, [*start, *words])
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *start, *words], env=env, capture_output=True, text=True, timeout=300, check=False
        )

    def tensors(self, name: str, checkpoint: str = "step_8") -> dict[str, torch.Tensor]:
        return load_file(self.folder / name / "checkpoints" / checkpoint / "trainer_state.tensors")

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(self.folder / name)]

    def assert_same(self, name: str, wanted: str) -> None:
        found, whole = self.tensors(name), self.tensors(wanted)
        assert found.keys() == whole.keys()
        for key, value in whole.items():
            torch.testing.assert_close(found[key], value, rtol=1e-7, atol=1e-9)
        rows = self.rows(name)
        assert len(rows) == len(self.rows(wanted))
        for row, expected in zip(rows, self.rows(wanted), strict=True):
            assert {k: v for k, v in row.items() if isinstance(v, str)} == {
                k: v for k, v in expected.items() if isinstance(v, str)
            }
            numbers = {k: v for k, v in row.items() if isinstance(v, (int, float))}
            assert numbers == pytest.approx({k: expected[k] for k in numbers}, rel=1e-6, abs=1e-9)
        files = sorted(file.name for file in (self.folder / wanted / "rollouts").iterdir())
        for file in files:
            groups, expected_groups = (
                read_forests(self.folder / run / "rollouts" / file) for run in (name, wanted)
            )
            assert [g.id for g in groups] == [g.id for g in expected_groups]
            assert [t.action.ids for g in groups for t in g.turns] == [
                t.action.ids for g in expected_groups for t in g.turns
            ]


def commands() -> Iterator[str]:
    """The command lines of all processes."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            yield file.read_text(errors="replace")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """With one uninterrupted run of one process called `whole`, which learns in every step."""
    runs = Runs(tmp_path_factory.mktemp("runs"))
    done = runs.run(1, "whole")
    assert done.returncode == 0, done.stderr
    assert all(row["grad_norm"] > 0 for row in runs.rows("whole") if "stage" in row)
    return runs


def test_two_processes_train_as_one_does(runs: Runs) -> None:
    """The same tasks, samples, rewards, metrics and weights; one of them alone writes and tells."""
    done = runs.run(2, "two")
    assert done.returncode == 0, done.stderr
    runs.assert_same("two", "whole")
    assert done.stdout.count("evaluation rl at step 8") == 1
    assert (runs.folder / "two" / "report.html").exists()


def test_a_run_goes_on_with_another_number_of_processes(runs: Runs) -> None:
    """One, then two with a part each of the weights, then one; each but the last is killed in the middle."""
    first = runs.run(1, "changing", kill=(0, 4))
    assert first.returncode == -signal.SIGKILL
    second = runs.run(2, "changing", "resume=true", "shard=true", kill=(1, 6))
    assert second.returncode == 1
    latest = (runs.folder / "changing" / "checkpoints" / "latest").read_text().strip()
    assert latest == "step_6"
    third = runs.run(1, "changing", "resume=true", "shard=false")
    assert third.returncode == 0, third.stderr
    runs.assert_same("changing", "whole")


def test_the_death_of_one_process_ends_all(runs: Runs) -> None:
    """While the others wait for what it has played; torchrun says which it was."""
    done = runs.run(2, "dead", kill=(1, 6))
    assert done.returncode == 1
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert not [command for command in commands() if "run_name=dead" in command and str(runs.folder) in command]


def test_what_is_wrong_is_said_before_anything_starts(runs: Runs) -> None:
    done = runs.run(2, "muon", "optimizer=muon", "shard=true")
    assert done.returncode == 1
    assert "optimizer=muon needs whole matrices" in done.stderr
    assert not (runs.folder / "muon").exists()
    done = runs.run(2, "whole")
    assert done.returncode == 1
    assert "holds a run already" in done.stderr


def test_batches_are_played_ahead_by_all(runs: Runs) -> None:
    done = runs.run(2, "ahead", "max_staleness=1", "optimizer=muon")
    assert done.returncode == 0, done.stderr
    for step in range(5, 9):
        groups = read_forests(runs.folder / "ahead" / "rollouts" / f"step_{step}.jsonl")
        assert [group.id for group in groups] == [f"s{step}-{i}" for i in range(3)]
        assert all(len(group.leaves()) == 4 for group in groups)
