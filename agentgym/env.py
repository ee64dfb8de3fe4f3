"""The environment contract: Gymnasium's API, asynchronous, and able to fork.

An author writes a frozen dataclass (the config, an `EnvConfig`) and an `Env` with two methods, `start` and
`act`, that speak in text or chat messages. Tokens are nobody's business here: `rollout/walk.py` plumbs them.
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from agentgym.errors import ConfigError
from agentgym.types import Observation, Outcome, Task

if TYPE_CHECKING:
    from gymnasium import Space

    from agentgym.services import Services

Split = Literal["train", "eval", "all"]
Demonstration = Generator[str, Observation, None]
"""A scripted policy: yields actions, is sent observations (first `next()`, then `send(observation)`)."""


class StepResult(NamedTuple):
    """What a step returns; unpacks as Gymnasium's five."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class TaskSource(Protocol):
    """Where tasks come from: a generator or a file."""

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        """`n` tasks; all of them for None, where they can be counted. Deterministic given `rng`'s state."""
        ...


TRAITS: dict[str, Any] = {
    "agents": ("policy",),
    "chunks": None,
    "prompt": None,
    "retriever": None,
    "runs_programs": False,
    "sandbox": None,
    "shows": frozenset,
}
"""What a config may have beside its methods, and what holds where it has not. agents: names of all who speak.
chunks: how rollouts cut its episodes (`agentgym/chunks.py`). prompt: `auto` where it can be plain or instruct.
retriever: one that is opened before anything is played. runs_programs: whether episodes need a sandbox, which then
is there before the first. sandbox: which. shows: gives the roles of the messages that follow an action."""


def trait(config: EnvConfig, name: str) -> Any:
    """One of a config's TRAITS."""
    return getattr(config, name, TRAITS[name])


class EnvConfig(Protocol):
    """An environment's config: a frozen dataclass in `agentgym/envs/`. It may have TRAITS as well."""

    def make(self, services: Services) -> Env:
        """A fresh environment that shares `services` with its siblings."""
        ...

    def source(self) -> TaskSource:
        """The tasks this environment poses."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An environment's state as plain data: where it started and what was done."""

    task: Task
    seed: int
    actions: tuple[str, ...] = ()


class Env(ABC):
    """One episode at a time: `reset`, `step` until terminated or truncated, `close`.

    `fork` gives a second world in the same state; afterwards neither sees the other's writes. Unless an author
    writes `copy_to` it replays the actions, which is exact for a deterministic environment only.
    """

    stop: tuple[str, ...] = ()
    """Texts that end the policy's turn (kept in the action)."""
    agent: str = "policy"
    """Who speaks next, where an environment has several speakers; its config lists them all as `agents`."""

    def __init__(self, config: EnvConfig, services: Services) -> None:
        self.config = config
        self.services = services
        self.task: Task | None = None
        self._log: Snapshot | None = None  # where it started
        self._actions: list[str] = []
        self._transcript = hashlib.sha256()
        self._over = False
        services.join(self)

    @abstractmethod
    async def start(self, task: Task, rng: random.Random) -> Observation:
        """Begin an episode: the first observation. State of an earlier episode must be gone."""

    @abstractmethod
    async def act(self, action: str) -> StepResult:
        """Apply what the policy said. Raises only when the machinery failed (SandboxError, ...)."""

    async def release(self) -> None:  # noqa: B027  (optional for authors)
        """Give back what the episode holds. Called by `close` and before a new episode; may be called twice."""

    async def copy_to(self, twin: Env, seed: int | None) -> None:
        """Give a fresh environment of this config this one's state, exactly; raises SandboxError where that cannot
        be. `seed` reseeds the twin's own randomness, None copies it.

        Here by replay, which cannot reseed; raises ConfigError when the replay shows something else.
        """
        await twin.restore(await self.snapshot())
        if twin.state_key() != self.state_key():
            name = type(self).__name__
            raise ConfigError(
                f"{name} cannot be forked by replaying its actions: they showed something else the second time. "
                f"Draw all randomness from the `rng` that start() gets, or write {name}.copy_to(twin, seed)"
            )

    def demonstrate(self, rng: random.Random) -> Demonstration:
        """A scripted policy that solves the current task, for cold starts and `agentgym check`."""
        raise NotImplementedError(f"{type(self).__name__} has no demonstrator")

    def unfinished_reward(self) -> float:
        """What is added when the walk ends an episode that the environment would have gone on with."""
        return 0.0

    async def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start `options["task"]`, or a task drawn with `seed`."""
        seed = random.SystemRandom().getrandbits(31) if seed is None else seed
        task = (options or {}).get("task")
        if task is None:
            task = self.config.source().draw(1, random.Random(seed))[0]
        if not isinstance(task, Task):
            raise TypeError(f"options['task'] must be an agentgym.Task, not {type(task).__name__}")
        await self.release()
        self.task, self._over = task, False
        self._log, self._actions = Snapshot(task, seed), []
        self._transcript = hashlib.sha256(f"{task.id}|{seed}".encode())
        observation = await self.start(task, random.Random(seed))
        self._transcript.update(repr(observation).encode())
        return observation, {"task": task.id, "seed": seed}

    async def step(self, action: str) -> StepResult:
        """Apply `action`; raises RuntimeError before `reset` and after the episode's end."""
        if self._log is None:
            raise RuntimeError("step() before reset()")
        if self._over:
            raise RuntimeError("step() after the episode ended; call reset()")
        result = await self.act(action)
        self._actions.append(action)
        self._transcript.update(repr((action, result.observation, result.reward)).encode())
        self._over = result.terminated or result.truncated
        return result

    async def snapshot(self) -> Snapshot:
        """The state as plain data: picklable, and restorable in another process."""
        if self._log is None:
            raise RuntimeError("snapshot() before reset()")
        return replace(self._log, actions=tuple(self._actions))

    async def restore(self, snapshot: Snapshot) -> None:
        """Return to a snapshot's state."""
        await self.reset(seed=snapshot.seed, options={"task": snapshot.task})
        for action in snapshot.actions:
            await self.step(action)

    async def fork(self, seed: int | None = None) -> Env:
        """A second environment in this state. `seed` reseeds the fork's own randomness from here on.

        Raises what `copy_to` raises; there is no fork then, and this environment goes on.
        """
        if self._log is None:
            raise RuntimeError("fork() before reset()")
        twin = self.config.make(self.services)
        try:
            await self.copy_to(twin, seed)
        except BaseException:
            await twin.close()
            raise
        twin.task, twin._log, twin._over = self.task, self._log, self._over
        twin._actions = list(self._actions)
        twin._transcript = self._transcript.copy()
        return twin

    def state_key(self) -> str:
        """A hash of everything that happened: equal for equal histories, different after different ones."""
        return self._transcript.hexdigest()

    async def close(self) -> None:
        """End the episode and free its resources; may be called twice."""
        self._log = None
        await self.release()
        await self.services.leave(self)

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} is a live handle and cannot be pickled; pickle its snapshot()")

    @property
    def observation_space(self) -> Space[Any]:
        """Text; rendered chat messages are text too."""
        return _text_space()

    @property
    def action_space(self) -> Space[Any]:
        """Text."""
        return _text_space()


def _text_space() -> Space[Any]:
    from agentgym.spaces import AnyText

    return AnyText()


def forgets(info: Mapping[str, Any]) -> bool:
    """Whether the environment takes back what it showed before the action just taken (`info["forget"]`): what the
    policy has said stays in its context, that observation does not. The prompt cannot be taken back."""
    return bool(info.get("forget", False))


def begins_anew(info: Mapping[str, Any]) -> bool:
    """Whether the observation is a prompt of its own (`info["anew"]`): the policy then sees it, and nothing of all
    that was shown and said before."""
    return bool(info.get("anew", False))


def truncated_by(info: Mapping[str, Any]) -> Outcome:
    """The outcome an environment named when it truncated; max_turns if it named none."""
    return Outcome(info.get("outcome", Outcome.MAX_TURNS))
