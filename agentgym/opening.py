"""A policy, opened: its model and engine, those of its partners, and who plays the episodes; closed at exit."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from agentgym.config import build
from agentgym.env import EnvConfig, trait
from agentgym.errors import ConfigError
from agentgym.parallel import ALONE, Peers
from agentgym.trainers.checkpoint import model_path
from agentgym.trainers.settings import Settings

if TYPE_CHECKING:
    from agentgym.cluster import Cluster, Policy
    from agentgym.renderer import Renderer
    from agentgym.retriever import Retriever
    from agentgym.rollout.manager import Manager
    from agentgym.sandbox import SandboxHost

logger = logging.getLogger(__name__)


class Models(NamedTuple):
    """Who speaks, before anybody plays. model, tokenizer: None where the engine has its own. partners: engines, by
    agent."""

    model: Any
    tokenizer: Any
    engine: Any
    renderer: Renderer
    partners: dict[str, Any]


def open_policy(
    settings: Settings, peers: Peers = ALONE, *, learns: bool = False
) -> AbstractAsyncContextManager[Policy]:
    """The policy, wherever the cluster has its parts; closed at exit. learns: whether it is trained."""
    cluster: Cluster = build("cluster", settings.cluster)
    return cluster.open(settings, peers, learns)


@asynccontextmanager
async def open_here(settings: Settings, peers: Peers = ALONE, learns: bool = False) -> AsyncIterator[Policy]:
    """All of it in this process; at exit, engines that cost something say what."""
    async with AsyncExitStack() as opened:
        if getattr(build("engine", settings.engine), "brings_model", False):
            models = _models_elsewhere(settings, opened)
        else:
            models = await models_here(settings if learns else aside(settings), opened)
        managers = open_managers(settings, env_for(settings, models.model), models, peers)
        manager = await opened.enter_async_context(managers)
        yield models.model, models.tokenizer, models.engine, manager
    peers.leave()


@asynccontextmanager
async def open_managers(
    settings: Settings, env: EnvConfig, models: Models, peers: Peers = ALONE
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
    _, tokenizer, engine, renderer, partners = models
    async with Services(Vocabulary.of(tokenizer) if tokenizer else None) as services:
        if trait(env, "runs_programs"):  # at once, and not by the first program of some episode
            host: SandboxHost = await services.get(build("sandbox", trait(env, "sandbox")))
            logger.info("sandbox: %s", host.description)
        if spec := trait(env, "retriever"):  # its index may take long to build
            retriever: Retriever = await services.get(build("retriever", spec))
            logger.info("retriever: %s", retriever.description)

        def manager(temperature: float) -> Manager:
            limits = Limits(settings.max_completion_tokens, temperature, settings.top_p, settings.top_k)
            return Manager(env, engine, renderer, services, limits, guard, partners, peers)

        yield manager


def env_for(settings: Settings, model: Any) -> EnvConfig:
    """The environment; a prompt left to us is plain for a model that says it follows no instructions. model: None
    for one that is elsewhere."""
    env: Any = build("env", settings.env)
    if trait(env, "prompt") == "auto":
        follows = model is None or getattr(model.config, "follows_instructions", True)
        env = dataclasses.replace(env, prompt="instruct" if follows else "plain")
    found: EnvConfig = env
    return found


def _check_template(settings: Settings) -> None:
    """Before the weights are loaded: whether the model's chat template carries what the environment says it shows.
    Raises ConfigError where it does not; where it writes earlier turns anew, the log says so, once."""
    from agentgym.models.append_only import CUT, inspect
    from agentgym.models.load import load_tokenizer

    roles: set[str] = trait(build("env", settings.env), "shows")()
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
    """Model and tokenizer."""
    from agentgym.models.load import load_policy, repeat_exactly, resolve_device

    device, name = resolve_device(settings.device), model_path(settings.model)
    if settings.deterministic:
        repeat_exactly(device)
    return load_policy(name, seed=settings.seed, device=device, dtype=settings.dtype, lora=settings.lora)


def aside(settings: Settings) -> Settings:
    """For who does not learn: where the engine samples with a copy of the model, the model itself takes no room on
    a GPU."""
    if not getattr(build("engine", settings.engine), "copies_weights", False):
        return settings
    from agentgym.models.load import resolve_device, resolve_dtype

    dtype = str(resolve_dtype(settings.dtype, resolve_device(settings.device))).removeprefix("torch.")
    return dataclasses.replace(settings, device="cpu", dtype=dtype)


def load_player(settings: Settings) -> tuple[Any, Any]:
    """Model and tokenizer, where the model's chat template fits the environment. Raises ConfigError."""
    _check_template(settings)
    return load_model(settings)


async def models_here(settings: Settings, opened: AsyncExitStack) -> Models:
    """In this process; `opened` closes the engines."""
    from agentgym.engines.starting import start_engine
    from agentgym.models.chat import Chat

    model, tokenizer = load_player(settings)
    partners = _partners(aside(settings), tokenizer, opened)
    engine = await start_engine(build("engine", settings.engine), model, tokenizer)
    _close_at_exit(engine, opened)
    return Models(model, tokenizer, engine, Chat(tokenizer), partners)


def _models_elsewhere(settings: Settings, opened: AsyncExitStack) -> Models:
    """The same, where the engine has them somewhere else."""
    from agentgym.engines.chat_pieces import ChatPieces

    config, chat = build("engine", settings.engine), ChatPieces()
    engine, *others = (config.reach(name, chat) for name in (settings.model, *settings.partners.values()))
    for each in (engine, *others):
        _close_at_exit(each, opened)
    return Models(None, None, engine, chat, dict(zip(settings.partners, others, strict=True)))


def _close_at_exit(engine: Any, opened: AsyncExitStack) -> None:
    opened.push_async_callback(engine.close)
    opened.callback(_tell_spent, engine)


def _tell_spent(engine: Any) -> None:
    spent = getattr(engine, "spent", None)
    if spent is not None:
        logger.info("%s: %s", engine.model, spent)


def _partners(settings: Settings, tokenizer: Any, opened: AsyncExitStack) -> dict[str, Any]:
    """An engine for each agent that another model plays. Raises ConfigError for one with other tokens."""
    from agentgym.models.load import load_policy, resolve_device

    engines: dict[str, Any] = {}
    config, device = build("engine", settings.engine), resolve_device(settings.device)
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
