"""Any environment of verifiers 0.1 and 0.2 (`vf.SingleTurnEnv`, `vf.ToolEnv`, `vf.MultiTurnEnv`), which the
Environments Hub is full of. From 0.3 on verifiers has another interface, in which it runs the policy itself."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentgym.config import Spec, build
from agentgym.env import TaskSource
from agentgym.envs.foreign import Answer, ForeignEnv, ForeignTurns
from agentgym.envs.tasks.source import task_source
from agentgym.extras import need
from agentgym.protocol import Dialogue
from agentgym.tool import Call
from agentgym.types import Message, Task

if TYPE_CHECKING:
    from agentgym.envs.verifiers_peer import Asked, Rollout
    from agentgym.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifiers(ForeignTurns):
    """`vf.load_environment(id, **arguments)`. Its own rollout loop plays, and is given what the policy says as a
    model's answer; its rubric's reward comes at the end.

    Fields as in ForeignTurns, and: tasks: the environment's own data set, if not given. protocol: how the policy
    writes tool calls, where the environment has tools (a malformed call is none).
    """

    id: str
    arguments: dict[str, Any] = field(default_factory=dict)
    tasks: Spec = ""
    protocol: Spec = "hermes"

    def make(self, services: Services) -> VerifiersEnv:
        return VerifiersEnv(self, services)

    def source(self) -> TaskSource:
        own = {"name": "verifiers", "id": self.id, "arguments": self.arguments}
        return task_source(self.tasks or own, self.eval_tasks)


class VerifiersEnv(ForeignEnv):
    """One episode."""

    config: Verifiers

    def __init__(self, config: Verifiers, services: Services) -> None:
        super().__init__(config, services)
        self._rollout: Rollout | None = None
        self._dialogue: Dialogue | None = None

    async def begin(self, task: Task, rng: random.Random) -> list[Message]:
        need("verifiers.envs", "verifiers")
        from agentgym.envs.verifiers_peer import Peer, frozen

        config = self.config
        peer = await self.services.get(Peer(config.id, frozen(config.arguments), config.timeout))
        row = task.info.get("row") or {"prompt": task.prompt, "answer": task.answer, "info": dict(task.info)}
        self._rollout = peer.begin(row)
        asked = await self._rollout.next()
        if not asked.tools:
            return asked.messages
        self._dialogue = build("protocol", config.protocol).bind(asked.tools)
        self.stop = self._dialogue.stop
        return _announce(asked.messages, self._dialogue)

    async def answer(self, action: str) -> Answer:
        assert self._rollout is not None, "reset() comes first"
        calls = self._dialogue.parse(action).calls if self._dialogue else ()
        self._rollout.say(action, [call for call in calls if isinstance(call, Call)])
        asked: Asked = await self._rollout.next()
        return Answer(asked.messages, asked.reward, asked.over, info=asked.info)

    async def release(self) -> None:
        rollout, self._rollout = self._rollout, None
        if rollout is not None:
            rollout.cancel()


def _announce(messages: list[Message], dialogue: Dialogue) -> list[Message]:
    """The tools, for the chat template or in words."""
    first, *rest = messages
    if dialogue.specs:
        return [{**first, "tools": [spec.function() for spec in dialogue.specs]}, *rest]
    return [{"role": "system", "content": dialogue.how_to_call}, first, *rest]
