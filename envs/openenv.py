"""Any environment that an OpenEnv server has (https://github.com/meta-pytorch/OpenEnv)."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentgym.envs.foreign import Answer, ForeignEnv, ForeignTurns, says
from agentgym.errors import ConfigError, did_you_mean
from agentgym.gym import as_text
from agentgym.protocols.safe_json import BadJson, read_json
from agentgym.types import Observation, Task

if TYPE_CHECKING:
    from agentgym.envs.openenv_link import Link
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Openenv(ForeignTurns):
    """An episode is a connection to the server at `url`; the server's reset makes the task.

    Fields as in ForeignTurns, and: url: http(s):// or ws(s)://. action: the field of the server's action that gets
    what the policy said; empty: what it said is the action, as a JSON object. observation: the field that the
    policy is shown; empty: all of them, as JSON. token, token_env, token_file: shown as a bearer token: itself, a
    variable or a file that holds it.

    A task's prompt, where it has one, comes before the first observation, and its info is what the server's reset
    is called with. An action that does not fit the server's schema costs a turn and is told to the policy.
    """

    url: str
    action: str = "message"
    observation: str = "prompt"
    token: str = field(default="", repr=False)
    token_env: str = ""
    token_file: str = ""

    def __post_init__(self) -> None:
        ForeignTurns.__post_init__(self)
        if not self.url.startswith(("http://", "https://", "ws://", "wss://")):
            raise ValueError(f"url must begin with http://, https://, ws:// or wss://, not {self.url!r}")

    def make(self, services: Services) -> OpenenvEnv:
        return OpenenvEnv(self, services)


class OpenenvEnv(ForeignEnv):
    """One episode. A connection that is lost cannot be resumed: its episode is on the server, and gone."""

    config: Openenv

    def __init__(self, config: Openenv, services: Services) -> None:
        super().__init__(config, services)
        self._link: Link | None = None

    async def begin(self, task: Task, rng: random.Random) -> Observation:
        from agentgym.envs.openenv_link import Server

        config = self.config
        server = await self.services.get(
            Server(config.url, config.timeout, config.token, config.token_env, config.token_file)
        )
        if config.action and config.action not in server.action_fields:
            known = did_you_mean(config.action, server.action_fields)
            raise ConfigError(f"action={config.action!r}: the server's actions have no such field. {known}")
        self._link, data = await server.begin(dict(task.info))
        shown = self._shown(data)
        return says("\n\n".join(filter(None, (as_text(task.prompt), shown))))

    async def answer(self, action: str) -> Answer:
        from agentgym.envs.openenv_link import Unfit

        assert self._link is not None, "reset() comes first"
        try:
            data = await self._link.ask("step", self._action(action))
        except (Unfit, BadJson) as error:
            return Answer(says(f"That is no action: {error}"), 0.0, False)
        metadata = data["observation"].get("metadata") or {}
        truncated = data["done"] and bool(metadata.get("truncated", False))
        info = {"success": metadata["success"]} if isinstance(metadata.get("success"), bool) else {}
        reward = float(data.get("reward") or 0.0)
        return Answer(says(self._shown(data)), reward, data["done"] and not truncated, truncated, info)

    async def release(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _action(self, said: str) -> Any:
        return {self.config.action: said} if self.config.action else read_json(said)

    def _shown(self, data: Mapping[str, Any]) -> str:
        """What the policy reads of an observation. Metadata are for the trainer."""
        fields = {name: value for name, value in data["observation"].items() if name != "metadata"}
        name = self.config.observation
        if name and name not in fields:
            raise ConfigError(
                f"observation={name!r}: the server shows no such field. {did_you_mean(name, fields)}"
            )
        value = fields[name] if name else fields
        if isinstance(value, list) and value and all(isinstance(m, dict) and "content" in m for m in value):
            return "\n\n".join(str(message["content"]) for message in value)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
