"""A run, from what was typed to its end: train, evaluate, roll out, check an engine."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym import parallel
from agentgym.config import build, name_of, read_toml, to_table
from agentgym.env import Split, TaskSource, trait
from agentgym.errors import ConfigError, did_you_mean
from agentgym.opening import load_model, open_policy
from agentgym.parallel import ALONE, Peers
from agentgym.recipes import as_in_its_run, check_resumed, check_used, find_place, merge_layers
from agentgym.trainers.base import TrainsCritic
from agentgym.trainers.checkpoint import config_of_run, model_path
from agentgym.trainers.settings import Settings

if TYPE_CHECKING:
    from agentgym.checks.harness import CheckResult
    from agentgym.cluster import Cluster
    from agentgym.rollout.manager import Manager
    from agentgym.trainers.trainer import Reporter
    from agentgym.types import Group

logger = logging.getLogger(__name__)


def resolve_settings(
    overrides: Mapping[str, Any], files: list[Path], *, slips: bool = True, plays: bool = False
) -> Settings:
    """Recipe, then `-c` files, then overrides; to resume, the run's own settings first. slips: whether the rates
    of slips that a recipe has for the demonstrations of its cold start count. plays: whether a run's checkpoint
    plays what it learned, where nobody says what. Raises ConfigError."""
    layers = [*(read_toml(file, "config") for file in files), overrides]
    place = find_place(layers)
    stored = run_directory(place) / "config.toml" if place.resume else None
    if stored and stored.exists():
        begun = [read_toml(stored, "config")]
    else:
        stored, begun = None, [as_in_its_run(layers)] if plays else []
    settings = merge_layers([*begun, *layers], slips)
    check_components(settings)
    check_used(overrides, settings.stages)
    if stored:
        check_resumed(stored, settings)
    return settings


def check_components(settings: Settings) -> None:
    """Build every component once, so that a wrong name or field is found before anything starts."""
    if not settings.stages:
        raise ConfigError("the recipe has no stages")
    env = build("env", settings.env)
    env.source()
    if (sandbox := trait(env, "sandbox")) is not None:
        build("sandbox", sandbox)
    build("engine", settings.engine)
    build("cluster", settings.cluster)
    agents = trait(env, "agents")
    for agent in {*settings.partners, *(name for stage in settings.stages for name in stage.agents)} - {*agents}:
        raise ConfigError(f"env {type(env).__name__} has no agent {agent!r}: {did_you_mean(agent, agents)}")
    for stage in settings.stages:
        initial = getattr(build("rollout", stage.rollout), "initial_rollouts", 0)
        size = stage.group_size or settings.group_size
        if isinstance(initial, int) and initial > size:
            raise ConfigError(
                f"stage {stage.name!r}: initial_rollouts={initial} of group_size={size} leaves nothing to branch"
            )
        build("sampler", stage.sampler)
        for kind, specs in (("signal", stage.signals), ("credit", stage.credit), ("loss", stage.losses)):
            for spec in specs:
                build(kind, spec)


def task_source(settings: Settings) -> TaskSource:
    """The environment's tasks."""
    source: TaskSource = build("env", settings.env).source()
    return source


def run_directory(settings: Settings) -> Path:
    """output_dir/run_name; without a name, the environment's and the time; to resume, the newest."""
    folder = Path(settings.output_dir)
    if settings.run_name:
        return folder / settings.run_name
    if settings.resume:
        runs = sorted(folder.glob("*/config.toml"), key=lambda f: f.stat().st_mtime)
        if not runs:
            raise ConfigError(f"resume: there is no run in {folder}")
        return runs[-1].parent
    return folder / f"{name_of(settings.env)}-{time.strftime('%Y%m%d-%H%M%S')}"


async def train(settings: Settings, reporter: Reporter) -> tuple[Path, dict[str, Any]]:
    """A whole run; returns its directory and the evaluations by stage."""
    path = run_directory(settings)
    _check_start(settings, path)
    cluster: Cluster = build("cluster", settings.cluster)
    peers = Peers.join(settings.device)
    path = await peers.agree("run directory", path)
    return path, await cluster.train(settings, path, reporter, peers)


async def train_here(settings: Settings, path: Path, reporter: Reporter, peers: Peers = ALONE) -> dict[str, Any]:
    """A whole run with the learner in this process; the evaluations by stage."""
    from agentgym.runlog import NoLog, RunLog
    from agentgym.trainers.learner import Learner
    from agentgym.trainers.trainer import Parts, Trainer

    async with open_policy(settings, peers, learns=True) as (model, tokenizer, engine, manager):
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        learner = Learner(
            model,
            packing=settings.packing,
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            beta2=settings.adam_beta2,
            max_grad_norm=settings.max_grad_norm,
            critic=any(
                isinstance(build("loss", x), TrainsCritic) for stage in settings.stages for x in stage.losses
            ),
            peers=peers,
            shard=settings.shard,
        )
        log = RunLog(path, to_table(settings), resume=settings.resume) if peers.first else NoLog(path)
        with closing(log):
            parts = Parts(
                model,
                tokenizer,
                engine,
                learner,
                manager(settings.temperature),
                manager(settings.eval_temperature),
                task_source(settings),
                log,
                reporter,
                peers,
            )
            return await Trainer(settings, parts).train()


def _check_start(settings: Settings, path: Path) -> None:
    """What can be known to be wrong at once, not after torch is loaded or a stage is over."""
    engine = build("engine", settings.engine)
    if reason := getattr(engine, "refuses_training", ""):
        raise ConfigError(reason)
    if settings.dtype == "float16":
        raise ConfigError(
            "dtype=float16: gradients are too small for it; train in bfloat16 or float32 (engine.dtype may be it)"
        )
    if settings.deterministic and getattr(engine, "copies_weights", False):
        raise ConfigError("deterministic needs engine=torch: elsewhere what shares a batch depends on its arrival")
    if parallel.size() > 1 and getattr(engine, "tensor_parallel_size", 1) > 1:
        raise ConfigError("engine.tensor_parallel_size: several processes have a GPU and an engine each")
    if parallel.size() > 1 and getattr(engine, "weights_folder", None):
        raise ConfigError("engine.weights_folder: a server takes its weights from one process, not from several")
    from agentgym.models.load import check_model
    from agentgym.runlog import check_directory

    if parallel.rank() == 0:
        check_directory(path, resume=settings.resume)
        if settings.resume and not (path / "config.toml").exists():
            others = [run.parent.name for run in path.parent.glob("*/config.toml")]
            logger.warning("resume: there is no run %s, so it begins. %s", path, did_you_mean(path.name, others))
    for name in (settings.model, *settings.partners.values()):
        check_model(model_path(name))
    source = task_source(settings)
    for split in ("train", "eval"):
        source.draw(1, random.Random(0), split)


async def evaluate(settings: Settings, n: int | None, samples: int) -> tuple[Any, list[Any]]:
    """Evaluate `settings.model` on n tasks (all for None), `samples` times each: on evaluation tasks, where there
    are such by themselves or where the model learned from the others, else on all."""
    from agentgym.trainers.evaluate import evaluate as play

    split: Split = "eval" if _learned_from_these(settings) else "all"
    tasks = task_source(settings).draw(n, random.Random(f"eval {settings.seed}"), split)
    peers = Peers.join(settings.device)
    async with open_policy(settings, peers) as (_, _, _, manager):
        return await play(manager(settings.eval_temperature), tasks, settings.seed, samples)


def _learned_from_these(settings: Settings) -> bool:
    """Whether the model is of a run whose tasks these are."""
    file = config_of_run(settings.model)
    begun = read_toml(file, "run")["env"] if file else ""
    if name_of(begun) != name_of(settings.env):
        return False
    source: TaskSource = build("env", begun).source()
    return source == task_source(settings)


async def check_engine(settings: Settings) -> list[CheckResult]:
    """The engine's contract, with the model of the settings."""
    from agentgym.checks.engine import check_engine as check

    engine = build("engine", settings.engine)
    if getattr(engine, "brings_model", False):
        raise ConfigError(
            "check: with engine.form=chat there is no model here that the engine could be held against"
        )
    return await check(engine, *load_model(settings))


async def rollout(settings: Settings, n: int, demo: bool) -> tuple[list[Group], Callable[[Sequence[int]], str]]:
    """Play n training tasks once each, by the policy or by the demonstrator; the groups and a decoder of ids."""
    from agentgym.rollout.demonstrations import Demonstrations
    from agentgym.rollout.independent import Independent

    tasks = task_source(settings).draw(n, random.Random(settings.seed), "train")
    async with open_policy(settings) as (_, _, _, manager):
        named = [(f"rollout-{i}", task) for i, task in enumerate(tasks)]
        strategy = Demonstrations() if demo else Independent()
        play: Manager = manager(settings.temperature)
        return await play.run(strategy, named, settings.seed, 1), play.renderer.decode
