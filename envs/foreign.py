"""What environments of other libraries and machines share: turns, deadlines, and what counts as success."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from agentgym.config import Spec
from agentgym.env import Demonstration, Env, StepResult, TaskSource
from agentgym.envs.calling import Caller
from agentgym.envs.tasks.source import task_source
from agentgym.ranges import above, at_least
from agentgym.types import Message, Observation, Outcome, Task

if TYPE_CHECKING:
    from agentgym.services import Services

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTurns(ABC):
    """tasks, eval_tasks: see `tasks/source.py`. max_turns: after these the episode is truncated. timeout: seconds
    that a start or a turn may take. success_from: returns from this on count as success, where the environment
    does not say itself. demo: actions of a scripted policy, in which {answer} stands for the task's
    answer; none: there is no demonstrator.
    """

    tasks: Spec = "seeds"
    eval_tasks: Spec | None = None
    max_turns: int = 16
    timeout: float = 60.0
    success_from: float = 1.0
    demo: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(self, 1, "max_turns")
        above(self, 0, "timeout")

    @abstractmethod
    def make(self, services: Services) -> ForeignEnv: ...

    def shows(self) -> set[str]:
        """Roles of the messages that follow an action."""
        return {"user"}

    def source(self) -> TaskSource:
        return task_source(self.tasks, self.eval_tasks)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side makes of an action. info: may hold `success`."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)


class ForeignEnv(Env):
    """One episode. Forks by replay: what the other side answers must follow from the task and the actions."""

    config: ForeignTurns

    def __init__(self, config: ForeignTurns, services: Services) -> None:
        super().__init__(config, services)
        self._turns, self._return = 0, 0.0

    @abstractmethod
    async def begin(self, task: Task, rng: random.Random) -> Observation:
        """The first observation. Raises EnvError, ToolTimeout."""

    @abstractmethod
    async def answer(self, action: str) -> Answer:
        """What comes of an action. Raises EnvError, ToolTimeout."""

    async def start(self, task: Task, rng: random.Random) -> Observation:
        self._turns, self._return = 0, 0.0
        return await self.begin(task, rng)

    async def act(self, action: str) -> StepResult:
        got = await self.answer(action)
        self._turns += 1
        self._return += got.reward
        cut = not got.terminated and (got.truncated or self._turns >= self.config.max_turns)
        info = {**got.info, "tool_calls": self._turns}
        if got.terminated or cut:
            info.setdefault("success", self._return >= self.config.success_from)
            info["outcome"] = Outcome.MAX_TURNS if cut else Outcome.DONE
        return StepResult(got.observation, got.reward, got.terminated, cut, info)

    def demonstrate(self, rng: random.Random) -> Demonstration:
        if not self.config.demo:
            return super().demonstrate(rng)
        assert self.task is not None, "reset() comes first"
        return _recite(self.config.demo, self.task.answer)


class PeerEnv(ForeignEnv):
    """One episode with an object of another library, which is called in threads. name: whose it is, for
    messages."""

    def __init__(self, config: ForeignTurns, services: Services, name: str) -> None:
        super().__init__(config, services)
        self._caller = Caller(name, config.timeout)
        self.peer: Any = None

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises EnvError, ToolTimeout."""
        try:
            return await self._caller(work)
        except TimeoutError:
            self.peer = None  # a thread may still be in it
            raise

    async def release(self) -> None:
        peer, self.peer = self.peer, None
        if peer is not None:
            await self.call(peer.close)


def _recite(actions: tuple[str, ...], answer: str) -> Demonstration:
    for action in actions:
        yield action.replace("{answer}", answer)


def says(text: str) -> list[Message]:
    """An observation of one message."""
    return [{"role": "user", "content": text}]
