"""Any Gymnasium environment whose observations and actions can be written."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentgym.envs.foreign import Answer, ForeignTurns, PeerEnv, says
from agentgym.errors import ConfigError
from agentgym.gym import as_text
from agentgym.types import Message, Task

if TYPE_CHECKING:
    from agentgym.services import Services

STOP = "</action>"
_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gymnasium(ForeignTurns):
    """`gymnasium.make(id, **arguments)`, reset with the task's seed; the policy acts by `<action>...</action>`.

    Fields as in ForeignTurns, and: instructions: what the policy is told before the first observation. actions:
    names for the numbers of a Discrete action space, in order.

    Spaces: Text; Discrete, MultiDiscrete, MultiBinary and Box of at most 64 numbers, written as JSON; observations
    also as Tuple and Dict of these. Others are refused. An action that is none costs a turn and is told to the
    policy.
    """

    id: str
    arguments: dict[str, Any] = field(default_factory=dict)
    instructions: str = ""
    actions: tuple[str, ...] = ()

    def make(self, services: Services) -> GymnasiumEnv:
        return GymnasiumEnv(self, services)


class GymnasiumEnv(PeerEnv):
    """One episode."""

    stop = (STOP,)
    config: Gymnasium

    def __init__(self, config: Gymnasium, services: Services) -> None:
        super().__init__(config, services, f"Gymnasium's {config.id}")

    async def begin(self, task: Task, rng: random.Random) -> list[Message]:
        from agentgym.envs.gymnasium_spaces import how, show

        self.peer = peer = await self.call(self._make)
        seed = task.info.get("seed")
        seen, _ = await self.call(lambda: peer.reset(seed=seed))
        told = (self.config.instructions, as_text(task.prompt), how(peer.action_space, self.config.actions))
        return says("\n\n".join([*filter(None, told), show(peer.observation_space, seen)]))

    async def answer(self, action: str) -> Answer:
        from agentgym.envs.gymnasium_spaces import how, read, show

        peer = self.peer
        found = _ACTION.search(action)
        try:
            if found is None:
                raise ValueError("there is none")
            chosen = read(peer.action_space, found[1].strip(), self.config.actions)
        except ValueError as error:
            return Answer(
                says(f"That is no action: {error}. {how(peer.action_space, self.config.actions)}"), 0.0, False
            )
        seen, reward, terminated, truncated, _ = await self.call(lambda: peer.step(chosen))
        return Answer(says(show(peer.observation_space, seen)), float(reward), bool(terminated), bool(truncated))

    def _make(self) -> Any:
        import gymnasium

        from agentgym.envs.gymnasium_spaces import check

        try:
            peer = gymnasium.make(self.config.id, **self.config.arguments)
        except (gymnasium.error.Error, TypeError) as error:
            raise ConfigError(f"gymnasium.make({self.config.id!r}): {error}") from error
        try:
            check(self.config.id, peer.observation_space, peer.action_space, self.config.actions)
        except ConfigError:
            peer.close()
            raise
        return peer
