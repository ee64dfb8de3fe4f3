"""Any environment of SkyRL-Gym (https://github.com/NovaSky-AI/SkyRL)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from agentgym.config import Spec
from agentgym.envs.foreign import Answer, ForeignTurns, PeerEnv
from agentgym.errors import ConfigError, did_you_mean
from agentgym.extras import need
from agentgym.types import Message, Task

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyrlGym(ForeignTurns):
    """`skyrl_gym.make(id, env_config=env_config, extras=...)`, and one `step` a turn.

    Fields as in ForeignTurns. The extras are a task's `info` with, where it has none of its own, `reward_spec` and
    `reward_model` around its answer, and `max_turns`. Rewards of an episode's turns are added up, as SkyRL does.
    Its environments run in this process, and some of them run the policy's programs here.
    """

    id: str
    tasks: Spec = "arith"
    env_config: dict[str, Any] = field(default_factory=dict)

    def make(self, services: Services) -> SkyrlGymEnv:
        return SkyrlGymEnv(self, services)


class SkyrlGymEnv(PeerEnv):
    """One episode."""

    config: SkyrlGym

    def __init__(self, config: SkyrlGym, services: Services) -> None:
        super().__init__(config, services, f"SkyRL-Gym's {config.id}")

    async def begin(self, task: Task, rng: random.Random) -> list[Message]:
        self.peer = peer = await self.call(lambda: self._make(task))
        asked = [{"role": "user", "content": task.prompt}] if isinstance(task.prompt, str) else list(task.prompt)
        opening, _ = await self.call(lambda: peer.init(asked))
        return _messages(opening)

    async def answer(self, action: str) -> Answer:
        peer = self.peer
        got = await self.call(lambda: peer.step(action))
        return Answer(_messages(got["observations"]), float(got["reward"] or 0.0), bool(got["done"]))

    def _make(self, task: Task) -> Any:
        skyrl_gym = need("skyrl_gym", "skyrl-gym")
        if self.config.id not in skyrl_gym.registry:
            raise ConfigError(f"id={self.config.id!r}: {did_you_mean(self.config.id, skyrl_gym.registry)}")
        truth = {"method": "rule", "ground_truth": task.answer}
        defaults = {"reward_spec": truth, "reward_model": truth, "max_turns": self.config.max_turns}
        return skyrl_gym.make(
            self.config.id, env_config=_Config(self.config.env_config), extras={**defaults, **task.info}
        )


class _Config(dict[str, Any]):
    """A config whose keys are attributes too, as omegaconf's are."""

    __getattr__ = dict.__getitem__


def _messages(observations: Sequence[Any]) -> list[Message]:
    return [cast(Message, {"role": said["role"], "content": said["content"]}) for said in observations]
