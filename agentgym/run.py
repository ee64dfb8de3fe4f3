"""From settings to live parts: train, evaluate and roll out. The only place that knows every side."""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym import parallel
from agentgym.config import build, to_table
from agentgym.env import Env, EnvConfig, TaskSource
from agentgym.errors import ConfigError, did_you_mean
from agentgym.parallel import ALONE, Peers
from agentgym.recipes import check_resumed, check_used, find_place, merge_layers
from agentgym.trainers.base import TrainsCritic
from agentgym.trainers.checkpoint import model_path
from agentgym.trainers.settings import Settings

if TYPE_CHECKING:
    from agentgym.checks.harness import CheckResult
    from agentgym.cluster import Cluster, Policy
    from agentgym.engine import Engine
    from agentgym.renderer import Renderer
    from agentgym.retriever import Retriever
    from agentgym.rollout.manager import Manager
    from agentgym.sandbox import SandboxHost
    from agentgym.trainers.trainer import Reporter
    from agentgym.types import Group

logger = logging.getLogger(__name__)


def resolve_settings(overrides: Mapping[str, Any], files: list[Path], *, slips: bool = True) -> Settings:
    """Recipe, then `-c` files, then overrides; to resume, the run's own settings first. slips: whether the rates
    of slips that a recipe has for the demonstrations of its cold start count. Raises ConfigError."""
    place = find_place(overrides, files)
    stored = run_directory(place) / "config.toml" if place.resume else None
    begun = [stored] if stored and stored.exists() else []
    settings = merge_layers(overrides, [*begun, *files], slips)
    check_components(settings)
    check_used(overrides, settings.stages)
    if begun:
        check_resumed(begun[0], settings)
    return settings


def check_components(settings: Settings) -> None:
    """Build every component once, so that a wrong name or field is found before anything starts."""
    if not settings.stages:
        raise ConfigError("the recipe has no stages")
    env = build("env", settings.env)
    env.source()
    if hasattr(env, "sandbox"):
        build("sandbox", env.sandbox)
    build("engine", settings.engine)
    build("cluster", settings.cluster)
    agents = getattr(env, "agents", (Env.agent,))
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


def env_for(settings: Settings, model: Any) -> EnvConfig:
    """The environment; a prompt left to us is plain for a model that says it follows no instructions. model: None
    for one that is elsewhere."""
    env: Any = build("env", settings.env)
    if getattr(env, "prompt", None) == "auto":
        follows = model is None or getattr(model.config, "follows_instructions", True)
        env = dataclasses.replace(env, prompt="instruct" if follows else "plain")
    found: EnvConfig = env
    return found


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
    name = settings.env if isinstance(settings.env, str) else settings.env.get("name", "env")
    return folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def open_policy(settings: Settings, peers: Peers = ALONE) -> AbstractAsyncContextManager[Policy]:
    """The policy, wherever the cluster has its parts; closed at exit."""
    cluster: Cluster = build("cluster", settings.cluster)
    return cluster.open(settings, peers)


@asynccontextmanager
async def open_here(settings: Settings, peers: Peers = ALONE) -> AsyncIterator[Policy]:
    """All of it in this process; at exit, engines that cost something say what."""
    brings_model = getattr(build("engine", settings.engine), "brings_model", False)
    async with AsyncExitStack() as opened:
        policy = _policy_elsewhere(settings, opened) if brings_model else await policy_here(settings, opened)
        model, tokenizer, engine, renderer, partners = policy
        env = env_for(settings, model)
        managers = open_managers(settings, env, engine, renderer, tokenizer, partners, peers)
        manager = await opened.enter_async_context(managers)
        yield model, tokenizer, engine, manager
    peers.leave()


@asynccontextmanager
async def open_managers(
    settings: Settings,
    env: EnvConfig,
    engine: Engine,
    renderer: Renderer,
    tokenizer: Any,
    partners: Mapping[str, Engine],
    peers: Peers = ALONE,
) -> AsyncIterator[Callable[[float], Manager]]:
    """A maker of managers by temperature, over services that are closed at exit."""
    from agentgym.rollout.manager import Guard, Manager
    from agentgym.rollout.walk import Limits
    from agentgym.services import Services
    from agentgym.vocabulary import Vocabulary

    guard = Guard(
        concurrency=settings.concurrency,
        episode_timeout=settings.episode_timeout,
        retries=settings.retries,
        max_error_frac=settings.max_error_frac,
        deterministic=settings.deterministic,
    )
    async with Services(Vocabulary.of(tokenizer) if tokenizer else None) as services:
        if getattr(env, "runs_programs", False):  # at once, and not by the first program of some episode
            host: SandboxHost = await services.get(build("sandbox", env.sandbox))  # type: ignore[attr-defined]
            logger.info("sandbox: %s", host.description)
        if spec := getattr(env, "retriever", None):  # its index may take long to build
            retriever: Retriever = await services.get(build("retriever", spec))
            logger.info("retriever: %s", retriever.description)

        def manager(temperature: float) -> Manager:
            limits = Limits(settings.max_completion_tokens, temperature, settings.top_p, settings.top_k)
            return Manager(env, engine, renderer, services, limits, guard, partners, peers)

        yield manager


def _check_template(settings: Settings) -> None:
    """Before the weights are loaded: whether the model's chat template carries what the environment says it shows.
    Raises ConfigError where it does not; where it writes earlier turns anew, the log says so, once."""
    from agentgym.models.append_only import CUT, inspect
    from agentgym.models.load import load_tokenizer

    roles: set[str] = getattr(build("env", settings.env), "shows", set)()
    if not roles:
        return
    name = model_path(settings.model)
    findings = inspect(load_tokenizer(name), roles)
    if refused := next((found for found in findings if found.verdict == "refused"), None):
        raise ConfigError(f"model={name} cannot play this environment, which shows it messages: {refused.reason}")
    if reasons := dict.fromkeys(found.reason for found in findings if found.reason not in ("", CUT)):
        logger.warning(
            "model=%s: applied to a whole conversation, its chat template gives other tokens than the policy sees "
            "here, which goes on from what it was shown and said: %s. See docs/chat_templates.md",
            name,
            "; ".join(reasons),
        )


def load_model(settings: Settings) -> tuple[Any, Any]:
    """Model and tokenizer, where the model's chat template fits the environment."""
    from agentgym.models.load import load_policy, resolve_device

    _check_template(settings)
    device, name = resolve_device(settings.device), model_path(settings.model)
    return load_policy(name, seed=settings.seed, device=device, dtype=settings.dtype, lora=settings.lora)


async def policy_here(settings: Settings, opened: AsyncExitStack) -> tuple[Any, ...]:
    """Model, tokenizer, engine, renderer and partners, of models in this process; `opened` closes the engines."""
    from agentgym.engines.starting import start_engine
    from agentgym.models.chat import Chat
    from agentgym.models.load import resolve_device

    model, tokenizer = load_model(settings)
    partners = _partners(settings, tokenizer, resolve_device(settings.device), opened)
    engine = await start_engine(build("engine", settings.engine), model, tokenizer)
    _close_at_exit(engine, opened)
    return model, tokenizer, engine, Chat(tokenizer), partners


def _policy_elsewhere(settings: Settings, opened: AsyncExitStack) -> tuple[Any, ...]:
    """The same, of models that the engine has somewhere else."""
    from agentgym.engines.chat_pieces import ChatPieces

    config, chat = build("engine", settings.engine), ChatPieces()
    engine, *others = (config.reach(name, chat) for name in (settings.model, *settings.partners.values()))
    for each in (engine, *others):
        _close_at_exit(each, opened)
    return None, None, engine, chat, dict(zip(settings.partners, others, strict=True))


def _close_at_exit(engine: Any, opened: AsyncExitStack) -> None:
    opened.push_async_callback(engine.close)
    opened.callback(_tell_spent, engine)


def _tell_spent(engine: Any) -> None:
    spent = getattr(engine, "spent", None)
    if spent is not None:
        logger.info("%s: %s", engine.model, spent)


def _partners(settings: Settings, tokenizer: Any, device: str, opened: AsyncExitStack) -> dict[str, Any]:
    """An engine for each agent that another model plays. Raises ConfigError for one with other tokens."""
    from agentgym.models.load import load_policy

    engines: dict[str, Any] = {}
    config = build("engine", settings.engine)
    if settings.partners and any(getattr(config, name, None) for name in ("served_as", "weights_folder")):
        raise ConfigError(
            "partners have servers of their own: engine.served_as and weights_folder are for one model"
        )
    for agent, name in settings.partners.items():
        model, own = load_policy(model_path(name), seed=settings.seed, device=device, dtype=settings.dtype)
        if own.get_vocab() != tokenizer.get_vocab():
            raise ConfigError(f"partners.{agent}={name}: its tokens are not those of model={settings.model}")
        engines[agent] = config.start(model, own)
        _close_at_exit(engines[agent], opened)
    return engines


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

    async with open_policy(settings, peers) as (model, tokenizer, engine, manager):
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
    """Evaluate `settings.model` on n tasks (all of a file for None), `samples` times each."""
    from agentgym.trainers.evaluate import evaluate as play

    tasks = task_source(settings).draw(n, random.Random(f"eval {settings.seed}"), "all")
    peers = Peers.join(settings.device)
    async with open_policy(settings, peers) as (_, _, _, manager):
        return await play(manager(settings.eval_temperature), tasks, settings.seed, samples)


async def check_engine(settings: Settings) -> list[CheckResult]:
    """The engine's contract, with the model of the settings."""
    from agentgym.checks.engine import check_engine as check
    from agentgym.models.load import load_policy, resolve_device

    engine = build("engine", settings.engine)
    if getattr(engine, "brings_model", False):
        raise ConfigError(
            "check: with engine.form=chat there is no model here that the engine could be held against"
        )
    device = resolve_device(settings.device)
    model, tokenizer = load_policy(
        model_path(settings.model), seed=settings.seed, device=device, dtype=settings.dtype, lora=settings.lora
    )
    return await check(engine, model, tokenizer)


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
