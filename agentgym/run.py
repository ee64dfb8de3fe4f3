"""From settings to live parts: train, evaluate and roll out. The only place that knows every side."""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym.config import build, convert, merge, read_toml, to_table
from agentgym.env import Env, EnvConfig, TaskSource
from agentgym.errors import ConfigError, did_you_mean
from agentgym.trainers.base import TrainsCritic
from agentgym.trainers.settings import Settings

if TYPE_CHECKING:
    from agentgym.checks.harness import CheckResult
    from agentgym.retriever import Retriever
    from agentgym.rollout.manager import Manager
    from agentgym.sandbox import SandboxHost
    from agentgym.trainers.trainer import Reporter
    from agentgym.types import Group

logger = logging.getLogger(__name__)

BRANCHING = ("initial_rollouts", "beam_size", "branch_probability", "entropy_weight")
"""Settings of the rollout `entropy_branching`, under the names that ARPO gives them."""


def recipes() -> dict[str, Path]:
    """The built-in recipes by name."""
    folder = Path(__file__).parent / "trainers" / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def resolve_settings(overrides: Mapping[str, Any], files: list[Path], *, slips: bool = True) -> Settings:
    """Recipe, then `-c` files, then overrides; to resume, the run's own settings first. slips: whether the rates
    of slips that a recipe has for the demonstrations of its cold start count. Raises ConfigError."""
    settings = _merge_layers(overrides, files, slips)
    if settings.resume and (stored := run_directory(settings) / "config.toml").exists():
        settings = _merge_layers(overrides, [stored, *files], slips)
    check_components(settings)
    return settings


def _merge_layers(overrides: Mapping[str, Any], files: list[Path], slips: bool) -> Settings:
    layers = [*(read_toml(file, "config") for file in files), overrides]
    recipe = [layer["recipe"] for layer in layers if "recipe" in layer]
    if any("tools" in layer for layer in layers) and not any(map(_names_env, layers)):
        layers.insert(0, {"env": "tool_agent"})
    name = str(recipe[-1]) if recipe else _own_recipe(layers)
    recipe_layer = _recipe(name) if slips else _without_slips(_recipe(name))
    layers.insert(0, {**recipe_layer, "recipe": name})
    table: dict[str, Any] = {"stages": []}
    for layer in layers:
        stages = _merge_stages(table["stages"], layer.get("stages", {}))
        table = {**merge(table, layer), "stages": stages}
    for key in ("max_turns", "sandbox", "tools"):
        if key in table:
            table = merge(table, {"env": {key: table.pop(key)}})
    rollout = table.pop("rollout", {})
    branching = {key: table.pop(key) for key in BRANCHING if key in table}
    stages = table["stages"]
    if rollout:
        stages = [merge(s, {"rollout": rollout}) if _rollout(s) != "demonstrations" else s for s in stages]
    if branching:
        stages = [merge(s, {"rollout": branching}) if _rollout(s) == "entropy_branching" else s for s in stages]
        if "entropy_branching" not in map(_rollout, stages):
            names = ", ".join(branching)
            raise ConfigError(f"{names}: no stage here has rollout entropy_branching; recipe=arpo has")
    return convert(Settings, {**table, "stages": stages}, "settings")


def _names_env(layer: Mapping[str, Any]) -> bool:
    env = layer.get("env")
    return isinstance(env, str) or (isinstance(env, Mapping) and "name" in env)


def _own_recipe(layers: Sequence[Mapping[str, Any]]) -> str:
    """The recipe that has the environment's name, where there is one; else the default."""
    envs = [layer["env"] for layer in layers if _names_env(layer)]
    name = (envs[-1] if isinstance(envs[-1], str) else str(envs[-1]["name"])) if envs else ""
    return name if name in recipes() else Settings.recipe


def _rollout(stage: Mapping[str, Any]) -> str:
    """The name of a stage's rollout."""
    rollout = stage.get("rollout", "")
    return str(rollout if isinstance(rollout, str) else rollout.get("name"))


def _without_slips(table: dict[str, Any]) -> dict[str, Any]:
    """Without the rates of slips in demonstrations, of environments inside of others as well."""
    return {
        key: _without_slips(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if not key.startswith("demo_")
    }


def _recipe(name: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        return read_toml(Path(name), "recipe")
    known = recipes()
    stem = name.replace("-", "_")
    if stem not in known:
        raise ConfigError(f"unknown recipe {name!r}: {did_you_mean(stem, known)}")
    return read_toml(known[stem], "recipe")


def _merge_stages(stages: list[dict[str, Any]], given: Any) -> list[dict[str, Any]]:
    """`stages.rl.lr=1e-4` changes the stage of that name; a list replaces them all."""
    if isinstance(given, list):
        if not all(isinstance(stage, Mapping) and isinstance(stage.get("name"), str) for stage in given):
            raise ConfigError("stages: each of the list must be a table with a name")
        return given
    by_name = {stage["name"]: stage for stage in stages}
    if not isinstance(given, Mapping):
        raise ConfigError(f"stages={given!r}: say stages.NAME.key=value. Known: {', '.join(by_name)}")
    for name, changes in given.items():
        if name not in by_name:
            raise ConfigError(f"unknown stage {name!r}: {did_you_mean(name, by_name)}")
        if not isinstance(changes, Mapping):
            raise ConfigError(f"stages.{name}={changes!r}: say stages.{name}.key=value")
        by_name[name] = merge(by_name[name], changes)
    return list(by_name.values())


def check_components(settings: Settings) -> None:
    """Build every component once, so that a wrong name or field is found before anything starts."""
    if not settings.stages:
        raise ConfigError("the recipe has no stages")
    env = build("env", settings.env)
    env.source()
    if hasattr(env, "sandbox"):
        build("sandbox", env.sandbox)
    build("engine", settings.engine)
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


def model_path(name: str) -> str:
    """A model by name or path; a run's directory stands for its newest checkpoint."""
    from agentgym.trainers.checkpoint import latest

    newest = latest(Path(name) / "checkpoints")
    return name if newest is None else str(newest)


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


@asynccontextmanager
async def open_policy(settings: Settings) -> AsyncIterator[tuple[Any, ...]]:
    """Model, tokenizer (None both where the engine brings its own), engine, and a maker of managers; closed at
    exit, where engines that cost something say what."""
    from agentgym.rollout.manager import Guard, Manager
    from agentgym.rollout.walk import Limits
    from agentgym.services import Services
    from agentgym.vocabulary import Vocabulary

    brings_model = getattr(build("engine", settings.engine), "brings_model", False)
    policy = _policy_elsewhere(settings) if brings_model else await _policy_here(settings)
    model, tokenizer, engine, renderer, partners = policy
    env = env_for(settings, model)
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
            return Manager(env, engine, renderer, services, limits, guard, partners)

        async with AsyncExitStack() as engines:
            for each in (engine, *partners.values()):
                engines.push_async_callback(each.close)
                engines.callback(_tell_spent, each)
            yield model, tokenizer, engine, manager


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


async def _policy_here(settings: Settings) -> tuple[Any, ...]:
    """Model, tokenizer, engine, renderer and partners, of models in this process."""
    from agentgym.engines.starting import start_engine
    from agentgym.models.chat import Chat
    from agentgym.models.load import load_policy, resolve_device

    device = resolve_device(settings.device)
    _check_template(settings)
    model, tokenizer = load_policy(
        model_path(settings.model), seed=settings.seed, device=device, dtype=settings.dtype, lora=settings.lora
    )
    partners = _partners(settings, tokenizer, device)
    engine = await start_engine(build("engine", settings.engine), model, tokenizer)
    return model, tokenizer, engine, Chat(tokenizer), partners


def _policy_elsewhere(settings: Settings) -> tuple[Any, ...]:
    """The same, of models that the engine has somewhere else."""
    from agentgym.engines.chat_pieces import ChatPieces

    config, chat = build("engine", settings.engine), ChatPieces()
    partners = {agent: config.reach(name, chat) for agent, name in settings.partners.items()}
    return None, None, config.reach(settings.model, chat), chat, partners


def _tell_spent(engine: Any) -> None:
    spent = getattr(engine, "spent", None)
    if spent is not None:
        logger.info("%s: %s", engine.model, spent)


def _partners(settings: Settings, tokenizer: Any, device: str) -> dict[str, Any]:
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
    return engines


async def train(settings: Settings, reporter: Reporter) -> tuple[Path, dict[str, Any]]:
    """A whole run; returns its directory and the evaluations by stage."""
    path, source = run_directory(settings), task_source(settings)
    _check_start(settings, path, source)
    from agentgym.runlog import RunLog
    from agentgym.trainers.learner import Learner
    from agentgym.trainers.trainer import Parts, Trainer

    async with open_policy(settings) as (model, tokenizer, engine, manager):
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
        )
        with closing(RunLog(path, to_table(settings), resume=settings.resume)) as log:
            parts = Parts(
                model,
                tokenizer,
                engine,
                learner,
                manager(settings.temperature),
                manager(settings.eval_temperature),
                source,
                log,
                reporter,
            )
            return path, await Trainer(settings, parts).train()


def _check_start(settings: Settings, path: Path, source: TaskSource) -> None:
    """What can be known to be wrong at once, not after torch is loaded or a stage is over."""
    if reason := getattr(build("engine", settings.engine), "refuses_training", ""):
        raise ConfigError(reason)
    from agentgym.models.load import check_model
    from agentgym.runlog import check_directory

    check_directory(path, resume=settings.resume)
    for name in (settings.model, *settings.partners.values()):
        check_model(model_path(name))
    for split in ("train", "eval"):
        source.draw(1, random.Random(0), split)


async def evaluate(settings: Settings, n: int | None, samples: int) -> tuple[Any, list[Any]]:
    """Evaluate `settings.model` on n tasks (all of a file for None), `samples` times each."""
    from agentgym.trainers.evaluate import evaluate as play

    tasks = task_source(settings).draw(n, random.Random(f"eval {settings.seed}"), "all")
    async with open_policy(settings) as (_, _, _, manager):
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
