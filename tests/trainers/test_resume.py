"""A run that was killed or interrupted and resumed ends where an uninterrupted one does.

Runs are real command lines in processes of their own. To stop one at an exact place, a small driver sends the
signal just before the n-th call of a named function.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from agentgym.config import build, to_table
from agentgym.errors import ConfigError
from agentgym.run import resolve_settings
from agentgym.runlog import RunLog, read_metrics
from tests.living import living

DRIVER = """
import importlib, os, sys
where, at, number = sys.argv[1:4]
module, _, path = where.partition(":")
owner = importlib.import_module(module)
*classes, name = path.split(".")
for attribute in classes:
    owner = getattr(owner, attribute)
function, calls = getattr(owner, name), 0

def descendants(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in open(f"/proc/{pid}/task/{task}/children").read().split():
            yield child
            yield from descendants(child)

def stop(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(at):
        print("descendants", *descendants(os.getpid()), flush=True)
        os.kill(os.getpid(), int(number))
    return function(*args, **kwargs)

setattr(owner, name, stop)
sys.argv[1:] = sys.argv[4:]
from agentgym.cli import main
main()
"""
RECIPE = """
group_size = 4
batch_size = 2
max_completion_tokens = 24

[[stages]]
name = "cold_start"
rollout = "demonstrations"
pool = 8
steps = 4
batch_size = 4
group_size = 1
lr = 3e-3
sampler = { name = "uniform", drop_zero_spread = false }
losses = ["sft"]

[[stages]]
name = "rl"
rollout = "independent"
steps = 4
lr = 1e-3
signals = ["env_return"]
credit = [
    { name = "weighted_sum", weights = { return = 1.0 } },
    { name = "overlong", max_length = 24, buffer = 24 },
    { name = "group_relative" },
]
sampler = { name = "uniform", drop_zero_spread = false }
losses = ["ppo_clip", { name = "kl", coef = 0.1 }]
"""


class Runs:
    """Runs of one small recipe: two stages, four steps each, a checkpoint every second step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = folder / "small.toml"
        self.recipe.write_text(RECIPE, encoding="utf-8")

    def run(
        self, name: str, *more: str, stop: tuple[str, int, signal.Signals] | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = [
            "train",
            f"recipe={self.recipe}",
            "env=retool",
            "deterministic=true",
            "device=cpu",
        ]
        words += ["seed=1", "save_every=2", "eval_tasks=2", f"output_dir={self.folder}", f"run_name={name}", *more]
        program = ["-m", "agentgym"]
        if stop:
            where, at, number = stop
            program = ["-c", DRIVER, where, str(at), str(int(number))]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *program, *words], env=env, capture_output=True, text=True, timeout=300, check=False
        )

    def finish(self, name: str, *more: str) -> None:
        done = self.run(name, *more)
        assert done.returncode == 0, done.stderr

    def latest(self, name: str) -> str:
        return (self.folder / name / "checkpoints" / "latest").read_text().strip()

    def digest(self, name: str, checkpoint: str) -> str:
        """Of all that a checkpoint's trainer keeps in tensors: the parameters and the optimiser's state."""
        tensors = load_file(self.folder / name / "checkpoints" / checkpoint / "trainer_state.tensors")
        told = hashlib.sha256()
        for key in sorted(tensors):
            told.update(key.encode() + tensors[key].numpy().tobytes())
        return told.hexdigest()

    def rows(self, name: str) -> list[tuple[int, str]]:
        """What metrics.jsonl has, in order: the steps and the evaluations."""
        return [(row["step"], row.get("evaluation", "")) for row in read_metrics(self.folder / name)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """With one uninterrupted run called `whole`, in which every step of both stages learns something."""
    runs = Runs(tmp_path_factory.mktemp("runs"))
    runs.finish("whole")
    steps = [row for row in read_metrics(runs.folder / "whole") if "stage" in row]
    assert all(row["grad_norm"] > 0 for row in steps)
    assert steps[-1]["kl"] > 0
    cold, rl = [(n, "") for n in (1, 2, 3, 4)], [(n, "") for n in (5, 6, 7, 8)]
    assert runs.rows("whole") == [*cold, (4, "cold_start"), *rl, (8, "rl")]
    return runs


LEARN = "agentgym.trainers.learner:Learner._step"
PLAY = "agentgym.rollout.manager:Manager._attempts"


def test_killed_interrupted_and_resumed_again_and_again_is_as_uninterrupted(runs: Runs) -> None:
    """One run, stopped in every way; each checkpoint on the way is the uninterrupted run's, bit for bit."""
    checkpoints = runs.folder / "mine" / "checkpoints"

    def kill(where: str, call: int, *more: str) -> None:
        killed = runs.run("mine", *more, stop=(where, call, signal.SIGKILL))
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    kill(LEARN, 2)  # before any checkpoint
    assert not (checkpoints / "latest").exists()
    kill(LEARN, 4, "resume=true")  # in the cold start
    assert runs.latest("mine") == "step_2"
    with (runs.folder / "mine" / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 9, "ti')  # as a kill in the middle of a write leaves it

    # Ctrl-C among the episodes of step 6: 8 demonstrations, 2 episodes evaluated and 8 of step 5 came before.
    interrupted = runs.run("mine", "resume=true", stop=(PLAY, 20, signal.SIGINT))
    assert interrupted.returncode == 130, interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert "resume=true" in interrupted.stderr
    (line,) = [line for line in interrupted.stdout.splitlines() if line.startswith("descendants")]
    children = line.split()[1:]
    assert children, "the interpreter's processes were running"
    assert not any(living(int(pid)) for pid in children)
    assert runs.latest("mine") == "step_5", "the last whole step, though no checkpoint was due"

    kill(LEARN, 3, "resume=true")  # in reinforcement learning, at step 8
    assert runs.latest("mine") == "step_6"
    kill("agentgym.trainers.trainer:evaluate", 1, "resume=true")  # after the last step
    assert runs.latest("mine") == "step_8"
    runs.finish("mine", "resume=true")

    for step in (2, 4, 6, 8):
        assert runs.digest("mine", f"step_{step}") == runs.digest("whole", f"step_{step}"), step
    assert runs.digest("mine", "step_8") != runs.digest("mine", "step_6")
    assert runs.rows("mine") == runs.rows("whole")
    kept = sorted(os.listdir(checkpoints))
    assert kept == ["latest", "step_2", "step_4", "step_5", "step_6", "step_8"]


def test_what_a_stage_has_learned_is_there_before_it_is_evaluated(runs: Runs) -> None:
    killed = runs.run(
        "whole_stage", "save_every=0", stop=("agentgym.trainers.trainer:evaluate", 1, signal.SIGKILL)
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert runs.latest("whole_stage") == "step_4"
    runs.finish("whole_stage", "resume=true")
    for step in ("step_4", "step_8"):
        assert runs.digest("whole_stage", step) == runs.digest("whole", step)
    assert runs.rows("whole_stage") == runs.rows("whole")


def test_a_run_that_keeps_one_checkpoint_ends_as_one_that_keeps_all(runs: Runs) -> None:
    """Beside the newest it has the one that the losses of reinforcement learning compare with."""
    folder = runs.folder / "one" / "checkpoints"
    killed = runs.run("one", "keep_checkpoints=1", stop=(LEARN, 7, signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(os.listdir(folder)) == ["latest", "step_4", "step_6"]
    runs.finish("one", "resume=true")
    assert sorted(os.listdir(folder)) == ["latest", "step_4", "step_8"]
    assert runs.digest("one", "step_8") == runs.digest("whole", "step_8")


def test_whoever_is_asked_to_end_ends_as_if_interrupted(runs: Runs) -> None:
    """SIGTERM, as schedulers of clusters send it, among the episodes of step 6."""
    ended = runs.run("ended", "save_every=0", stop=(PLAY, 20, signal.SIGTERM))
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "resume=true run_name=ended goes on from step_5" in ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("descendants")]
    assert not any(living(int(pid)) for pid in line.split()[1:])
    runs.finish("ended", "resume=true")
    assert runs.digest("ended", "step_8") == runs.digest("whole", "step_8")


def test_dropout_of_adapters_is_as_if_uninterrupted(runs: Runs) -> None:
    adapters = ("lora.rank=2", "lora.dropout=0.3")
    runs.finish("dropping", *adapters)
    killed = runs.run("dropping_killed", *adapters, stop=(LEARN, 7, signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert runs.latest("dropping_killed") == "step_6"
    runs.finish("dropping_killed", "resume=true")
    assert runs.digest("dropping_killed", "step_8") == runs.digest("dropping", "step_8")


def test_another_run_under_the_same_name_is_refused(runs: Runs) -> None:
    again = runs.run("whole")
    assert again.returncode == 2
    assert "resume=true" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_run_that_is_over_says_so_and_stays_as_it_is(runs: Runs) -> None:
    before, rows = runs.digest("whole", "step_8"), runs.rows("whole")
    again = runs.run("whole", "resume=true", "stages.rl.steps=40")
    assert again.returncode == 0, again.stderr
    assert f"whole is over, with all of its stages; model={runs.folder / 'whole'} begins another" in again.stderr
    assert (runs.latest("whole"), runs.digest("whole", "step_8"), runs.rows("whole")) == ("step_8", before, rows)


def test_resuming_takes_the_runs_own_settings_and_then_what_is_said_now(tmp_path: Path) -> None:
    place = {"output_dir": str(tmp_path), "run_name": "mine"}
    first = resolve_settings({**place, "recipe": "grpo", "seed": 7, "lr": 0.5, "stages": {"rl": {"steps": 3}}}, [])
    RunLog(tmp_path / "mine", to_table(first), resume=False).close()

    again = resolve_settings({**place, "resume": True, "lr": 0.25}, [])
    assert (again.recipe, again.seed, again.lr, again.resume) == ("grpo", 7, 0.25, True)
    assert [(stage.name, stage.steps) for stage in again.stages] == [("rl", 3)]


def test_what_is_said_at_a_resume_may_be_of_the_runs_own_recipe_alone(tmp_path: Path) -> None:
    place = {"output_dir": str(tmp_path), "run_name": "mine"}
    RunLog(tmp_path / "mine", to_table(resolve_settings({**place, "recipe": "arpo"}, [])), resume=False).close()
    again = resolve_settings({**place, "resume": True, "beam_size": 3, "stages": {"rl": {"steps": 9}}}, [])
    [stage] = again.stages
    assert (again.recipe, stage.steps, build("rollout", stage.rollout).beam_size) == ("arpo", 9, 3)
    newest = resolve_settings({"output_dir": str(tmp_path), "resume": True, "beam_size": 4}, [])
    assert build("rollout", newest.stages[0].rollout).beam_size == 4


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"model": "micro"}, "mine was begun with model=nano, not micro"),
        ({"recipe": "retool"}, "mine was begun with recipe=grpo, not retool"),
        ({"env": "maze"}, "mine was begun with env=retool, not maze"),
        ({"optimizer": "muon"}, "mine was begun with optimizer=adamw, not muon"),
        ({"lora": {"rank": 4}}, "mine was begun with lora="),
    ],
)
def test_a_run_does_not_go_on_as_another(tmp_path: Path, told: dict[str, Any], complaint: str) -> None:
    place = {"output_dir": str(tmp_path), "run_name": "mine"}
    first = {**place, "recipe": "grpo", "env": {"name": "retool", "max_turns": 3}}
    RunLog(tmp_path / "mine", to_table(resolve_settings(first, [])), resume=False).close()
    with pytest.raises(ConfigError, match=complaint):
        resolve_settings({**place, "resume": True, **told}, [])
    resolve_settings({**place, "resume": True, "env": {"max_turns": 4}, "lora": {"alpha": 8}}, [])
