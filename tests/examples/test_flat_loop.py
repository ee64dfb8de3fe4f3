"""The flat loop and the real trainer learn the same from the same episodes, and the flat loop runs alone."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agentgym import run
from agentgym.config import parse_overrides
from agentgym.envs.retool import Retool
from agentgym.models import nano
from agentgym.runlog import read_forests, read_metrics
from agentgym.services import Services
from agentgym.types import Group

FLAT_LOOP = Path(__file__).parents[2] / "examples" / "flat_loop.py"
STAGE = (
    'stages=[{name="rl", signals=["env_return"], sampler={name="uniform", drop_zero_spread=true},'
    ' credit=[{name="weighted_sum", weights={return=1.0}}, "group_relative"],'
    ' losses=[{name="ppo_clip", clip_low=0.2, clip_high=0.28}], reduction="token_mean"}]'
)
STEPS, LR = 3, 3e-4


class Quiet:
    """A Reporter that says nothing."""

    def watch(self, *managers: Any) -> None: ...

    def stage(self, stage: Any, steps: int, done: int) -> None: ...

    def step(self, step: int, metrics: dict[str, Any]) -> None: ...

    def evaluated(self, name: str, step: int, result: Any) -> None: ...


@pytest.fixture(scope="module")
def flat_loop() -> Any:
    spec = importlib.util.spec_from_file_location("flat_loop", FLAT_LOOP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real trainer, in float64: AdamW blows up what rounding does to gradients near 0."""
    words = [f"env={Path(__file__).with_name('chatter.py')}:Chatter", "recipe=grpo", STAGE, "dtype=float64"]
    words += ["batch_size=3", "group_size=4", f"max_steps={STEPS}", f"lr={LR}", "adam_beta2=0.95", "device=cpu"]
    words += ["microbatch_tokens=200", "max_completion_tokens=40", "eval_tasks=1", "run_name=real"]
    words += [f"output_dir={tmp_path_factory.mktemp('runs')}"]
    path, _ = asyncio.run(run.train(run.resolve_settings(parse_overrides(words), []), Quiet()))
    return path


def test_the_flat_loop_computes_what_the_trainer_computes(flat_loop: Any, real_run: Path) -> None:
    model = nano.model(0).double()
    optimizer = flat_loop.make_optimizer(model, LR)
    rows = [row for row in read_metrics(real_run) if "loss" in row]
    assert len(rows) == STEPS
    for row in rows:
        groups = read_forests(real_run / "rollouts" / f"step_{row['step']}.jsonl")
        assert max(len(turns) for group in groups for turns in group.trajectories()) > 1
        assert any(len(set(group.returns())) > 1 for group in groups)
        loss = flat_loop.learn(model, optimizer, groups, flat_loop.ppo_clip)
        assert loss == pytest.approx(row["loss"], abs=1e-5)
    assert max(abs(row["loss"]) for row in rows) > 1e-3

    state = load_file(real_run / "checkpoints" / f"step_{STEPS}" / "trainer_state.tensors")
    start = nano.model(0).double().state_dict()
    parameters = dict(model.named_parameters())
    assert {f"weight|{name}" for name in parameters} <= state.keys()
    for name, parameter in parameters.items():
        assert torch.allclose(parameter, state[f"weight|{name}"], rtol=0, atol=1e-5), name
        assert not torch.allclose(parameter, start[name], rtol=0, atol=1e-4), name


def test_imitation_is_the_trainers_sft(flat_loop: Any, real_run: Path) -> None:
    groups = read_forests(real_run / "rollouts" / "step_1.jsonl")
    turns = [turn for group in groups for turn in group.turns]
    model = nano.model(0).double()
    loss = flat_loop.learn(model, flat_loop.make_optimizer(model, LR), groups, flat_loop.imitation)
    sampled = [logprob for turn in turns for logprob in turn.action.logprobs or ()]
    assert loss == pytest.approx(-sum(sampled) / len(sampled), abs=1e-5)  # nothing was learned before step 1


async def test_its_own_episodes_hold_what_the_model_says(flat_loop: Any) -> None:
    torch.manual_seed(0)
    config, model, tokenizer = Retool(prompt="plain"), nano.model(0), nano.tokenizer()
    group = Group("g", config.source().draw(1, random.Random(0))[0])
    async with Services() as services:
        env = config.make(services)
        for seed in range(2):
            await flat_loop.play(env, group, flat_loop.Policy(env, tokenizer, model), tokenizer, seed)
        await flat_loop.play(env, group, flat_loop.Demonstrator(env, tokenizer, 0), tokenizer, 0)
        await env.close()
    *played, shown = group.trajectories()
    sampled = [logprob for turns in played for turn in turns for logprob in turn.action.logprobs or ()]
    now = flat_loop.logprobs_of_actions(model, played)
    assert now.tolist() == pytest.approx(sampled, abs=1e-4)
    assert sum(turn.reward for turn in shown) == 1.0


def test_it_runs_alone() -> None:
    words = ["--imitate", "1", "--steps", "1", "--prompts", "1", "--group-size", "2"]
    done = subprocess.run(
        [sys.executable, str(FLAT_LOOP), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        "imitation 1",
        "reinforcement 1",
    ]
