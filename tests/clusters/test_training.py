"""A run of the command line on two machines, in which processes and machines are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.runlog import read_forests, read_metrics

from .conftest import Machines, title_of

pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")

COLD, RL, GROUPS, SIZE = 60, 8, 8, 4
RECIPE = f"""
group_size = {SIZE}
batch_size = {GROUPS}
max_completion_tokens = 96
optimizer = "muon"
adam_beta2 = 0.95
warmup_steps = 10

[env]
name = "retool"

[[stages]]
name = "cold_start"
rollout = "demonstrations"
pool = 512
steps = {COLD}
batch_size = 32
group_size = 1
lr = 6e-3
sampler = {{ name = "uniform", drop_zero_spread = false }}
losses = ["sft"]

[[stages]]
name = "rl"
rollout = "independent"
steps = {RL}
lr = 2e-4
signals = ["env_return"]
credit = [{{ name = "weighted_sum", weights = {{ return = 1.0 }} }}, {{ name = "group_relative" }}]
sampler = {{ name = "uniform", drop_zero_spread = false }}
losses = ["ppo_clip"]
"""
PATIENCE = 240.0
BAR = 0.06  # of 64 tasks; 0.17 where nothing is lost, and 0.00 without the cold start
DEADLY = f"{Path(__file__).parent / 'deadly.py'}:Deadly"


class Run:
    """A command line under way, in a process group of its own."""

    def __init__(self, folder: Path, machines: Machines, name: str, *more: str) -> None:
        recipe = folder / "small.toml"
        recipe.write_text(RECIPE, encoding="utf-8")
        words = [f"recipe={recipe}", "device=cpu", "eval_tasks=64", f"output_dir={folder}", f"run_name={name}"]
        if "cluster=single" not in more:
            words += [
                "cluster=ray",
                f"cluster.address={machines.address}",
                "cluster.engines=2",
                "cluster.workers=2",
            ]
        self.path = folder / name
        self.output = folder / f"{name}.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agentgym", "train", *words, *more],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, what: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """The first true answer, as long as the run goes on."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if found := what():
                return found
            assert self.process.poll() is None, self.text()
            time.sleep(0.05)
        raise AssertionError(f"it did not happen in {patience} s:\n{self.text()}")

    def at_step(self, step: int, patience: float = PATIENCE) -> None:
        """Wait until so many steps are made."""
        self.wait_for(lambda: self.steps()[-1:] >= [step], patience)

    def steps(self) -> list[int]:
        """Those in the metrics, in order."""
        try:
            return [row["step"] for row in read_metrics(self.path) if "stage" in row]
        except (OSError, ValueError):  # not there yet, or a row is being written
            return []

    def text(self) -> str:
        """What it printed."""
        return self.output.read_text()

    def end(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE)


@pytest.fixture
def run(tmp_path: Path, machines: Machines) -> Iterator[Callable[..., Run]]:
    """`run(name, ...)` begins one."""
    begun: list[Run] = []

    def begin(name: str, *more: str) -> Run:
        begun.append(Run(tmp_path, machines, name, *more))
        return begun[-1]

    yield begin
    for each in begun:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
    for node in list(machines.cluster.worker_nodes):
        machines.remove(node)


def success(run: Run, stage: str) -> float:
    return float(next(row["eval/success"] for row in read_metrics(run.path) if row.get("evaluation") == stage))


def check_whole(run: Run, cold: int = COLD, rl: int = RL) -> None:
    """Every step is there once, and in it every group once, with all of its episodes."""
    assert run.steps() == list(range(1, cold + rl + 1))
    for step in range(cold + 1, cold + rl + 1):
        groups = read_forests(run.path / "rollouts" / f"step_{step}.jsonl")
        assert [group.id for group in groups] == [f"s{step}-{i}" for i in range(GROUPS)]
        for group in groups:
            assert len(group.leaves()) == SIZE
            assert all(group.outcome(leaf).is_valid for leaf in group.leaves())


def gone(pids: Iterable[int]) -> bool:
    """Their processes have ended, whether anybody has asked for their exit codes or not."""
    return not any(title_of(pid) for pid in pids)


SHORT = ("stages.cold_start.steps=6", "stages.rl.steps=6", "stages.cold_start.pool=64", "save_every=2")


def test_a_worker_a_replica_and_then_a_machine_are_lost(run: Callable[..., Run], machines: Machines) -> None:
    nodes = [machines.add(cpus=4), machines.add(cpus=4)]
    mine = run("mine")
    mine.at_step(COLD // 3)
    actors = machines.actors()
    assert {*actors.values()} == {*nodes}
    for role in ("EnvWorker", "Replica"):
        os.kill(next(pid for pid, node in machines.actors(role).items()), signal.SIGKILL)
    mine.at_step(COLD + 1)
    [(_, stays)] = machines.actors("Learner").items()
    machines.remove(next(node for node in nodes if node is not stays))
    assert mine.end() == 0, mine.text()
    check_whole(mine)
    assert success(mine, "rl") >= BAR
    text = mine.text()
    assert "env worker" in text
    assert "was lost; it is made anew" in text
    assert gone(actors)
    assert not machines.actors()


@pytest.mark.slow
def test_the_main_job_learns_what_it_learns_without_losses(run: Callable[..., Run], machines: Machines) -> None:
    """The whole recipe: a worker is killed and then a machine is removed while it plays."""
    nodes = [machines.add(cpus=4), machines.add(cpus=4)]
    mine = run("mine", "recipe=retool", "eval_tasks=256")
    mine.at_step(510, 3600)
    os.kill(next(iter(machines.actors("EnvWorker"))), signal.SIGKILL)
    mine.at_step(530, 3600)
    [(_, stays)] = machines.actors("Learner").items()
    machines.remove(next(node for node in nodes if node is not stays))
    mine.wait_for((mine.path / "report.html").exists, 3600)
    assert mine.end() == 0, mine.text()
    assert mine.steps() == list(range(1, 601))
    for step in range(501, 601):
        groups = read_forests(mine.path / "rollouts" / f"step_{step}.jsonl")
        assert [group.id for group in groups] == [f"s{step}-{i}" for i in range(32)]
    assert success(mine, "rl") >= 0.85  # of 256 tasks; five seeds in one process end between 0.97 and 0.99


def test_the_machine_of_the_learner_is_lost(run: Callable[..., Run], machines: Machines) -> None:
    for _ in range(2):
        machines.add(cpus=5)
    mine = run("mine", *SHORT)
    mine.at_step(9)
    [(_, lost)] = machines.actors("Learner").items()
    machines.remove(lost)
    assert mine.end() == 0, mine.text()
    assert "the learner was lost; it is made anew, and goes on from step_8" in mine.text()
    check_whole(mine, 6, 6)
    assert not machines.actors()


def test_it_is_interrupted_in_order(run: Callable[..., Run], machines: Machines) -> None:
    machines.add(cpus=5)
    mine = run("mine", *SHORT, "save_every=0")
    mine.at_step(8)
    actors = machines.actors()
    os.killpg(mine.process.pid, signal.SIGINT)  # as a terminal does
    assert mine.end() == 130, mine.text()
    assert "Traceback" not in mine.text()
    assert "interrupted" in mine.text()
    saved = (mine.path / "checkpoints" / "latest").read_text().strip()
    assert saved == f"step_{mine.steps()[-1]}"
    assert gone(actors)
    assert not machines.actors()

    again = run("mine", "resume=true", "cluster=single")
    assert again.end() == 0, again.text()
    check_whole(again, 6, 6)


def test_actors_end_with_a_command_line_that_is_killed_and_with_one_that_fails(
    run: Callable[..., Run], machines: Machines
) -> None:
    machines.add(cpus=5)
    mine = run("mine", *SHORT)
    mine.at_step(7)
    actors = machines.actors()
    assert len(actors) == 5
    os.killpg(mine.process.pid, signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    while not gone(actors) and time.monotonic() < end:
        time.sleep(0.1)
    assert gone(actors)

    small = ["recipe=grpo", "max_steps=2", "batch_size=2", "group_size=2"]
    failing = run("failing", *small, f"env={DEADLY}", "env.deadly=true", "retries=0")
    assert failing.end() == 1, failing.text()
    assert "episodes failed" in failing.text()
    assert "Traceback" not in failing.text()
    assert not machines.actors()


def test_a_cluster_without_room_is_refused(run: Callable[..., Run], machines: Machines) -> None:
    machines.add(cpus=2)
    mine = run("mine", *SHORT, "cluster.patience=15")
    assert mine.end() == 1
    assert "in 15 s (cluster.patience) no room was found for 2 x e" in mine.text()
    assert "All actors take 5 CPUs, and the cluster has 2 CPUs" in mine.text()
    assert not machines.actors()
