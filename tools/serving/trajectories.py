"""The trajectories of one worker: each has tools of its own until it ends."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from agentgym.config import build
from agentgym.errors import AgentgymError
from agentgym.protocol import ActionProtocol, Dialogue, Malformed
from agentgym.services import Services
from agentgym.tool import MAX_TOKENS, Call, Result, ToolContext, Toolset
from agentgym.tooling.load import toolsets
from agentgym.tooling.toolbox import Toolbox
from agentgym.tools.serving.settings import ServeTools
from agentgym.tools.serving.wire import Action, Reply, failed

CLOSING_SECONDS = 30.0
FENCED = re.compile(r"```python(.*?)```", re.DOTALL)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Held:
    """A trajectory's tools. used: when its last action ended."""

    toolbox: Toolbox
    used: float


class Trajectories:
    """Carries out actions; those of one trajectory in the order in which they came."""

    def __init__(self, tools: Sequence[Toolset], services: Services, settings: ServeTools) -> None:
        self._tools, self._services, self._settings = tools, services, settings
        self._table: dict[str, Held] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(settings.max_actions)
        self._dialogue: Dialogue
        self.names: tuple[str, ...] = ()

    @classmethod
    async def open(cls, settings: ServeTools, services: Services) -> Trajectories:
        """With tools that were opened once to see that they can be; raises ConfigError, ToolFailed."""
        self = cls(toolsets(settings.tools), services, settings)
        toolbox = await self._open("")
        try:
            protocol: ActionProtocol = build("protocol", settings.protocol)
            self._dialogue = protocol.bind(toolbox.specs)
            self.names = tuple(spec.name for spec in toolbox.specs)
        finally:
            await toolbox.close()
        return self

    async def act(self, action: Action) -> Reply:
        """What comes of an action, within the time that one may take. A failure of ours is a reply, too."""
        came, turn = time.monotonic(), self._turns.setdefault(action.trajectory, asyncio.Lock())
        deadline = asyncio.timeout(self._settings.timeout)
        try:
            async with deadline, turn, self._slots:
                waited = time.monotonic() - came
                return replace(await self._step(action), waited=waited)
        except TimeoutError as error:
            if deadline.expired():
                return failed(f"no answer within {self._settings.timeout:g} s, the wait for its turn included")
            return _unexpected(error)
        except Exception as error:
            return _unexpected(error)

    async def free_idle(self) -> None:
        """Give up trajectories without actions, for ever."""
        while True:
            await asyncio.sleep(self._settings.idle / 4)
            for id, held in list(self._table.items()):
                if time.monotonic() - held.used > self._settings.idle:
                    turn = self._turns.setdefault(id, asyncio.Lock())
                    if not turn.locked():
                        async with turn:
                            await self._free(id)

    async def close(self) -> None:
        """End every trajectory."""
        await asyncio.gather(*(self._free(id) for id in list(self._table)))

    async def _step(self, action: Action) -> Reply:
        id = action.trajectory
        if action.finish:
            await self._free(id)
            return self._finished(action.text)
        if id not in self._table and not action.begins:
            return failed(
                f"trajectory {id!r} has no state here any more: a call of it failed, its worker was restarted, or "
                f"it was idle for more than {self._settings.idle:g} s; end it with `finish`"
            )
        try:
            if id not in self._table:
                self._table[id] = Held(await self._open(id), time.monotonic())
            reply = await self._observe(self._table[id].toolbox, action.text)
            self._table[id].used = time.monotonic()
        except BaseException as error:
            await self._free(id)  # what a call that was broken off has changed nobody knows
            if isinstance(error, AgentgymError):
                return failed(str(error))
            raise
        if action.last:
            await self._free(id)
        return reply

    async def _observe(self, toolbox: Toolbox, text: str) -> Reply:
        said = self._dialogue.parse(text).calls or self._fenced(text)
        if not said:
            return Reply({"obs": self._dialogue.how_to_call, "invalid_reason": "no call of a tool"}, valid=False)
        results = iter(await toolbox.run([call for call in said if isinstance(call, Call)]))
        answers = [self._shown(next(results) if isinstance(call, Call) else call) for call in said]
        observation = self._dialogue.observe(answers)
        if not isinstance(observation, str):
            observation = "\n".join(message["content"] for message in observation)
        return Reply(observation, valid=all(getattr(answer, "ok", False) for answer in answers))

    def _shown(self, answer: Result | Malformed) -> Result | Malformed:
        """With a text that can be nothing but data, and is not too long."""
        vocabulary, tags = self._services.vocabulary, self._dialogue.tags
        if isinstance(answer, Malformed):
            return Malformed(vocabulary.as_data(answer.reason, tags, MAX_TOKENS))
        return replace(answer, output=vocabulary.as_data(answer.output, tags, answer.max_tokens))

    def _fenced(self, text: str) -> tuple[Call, ...]:
        """VerlTool's `python` also takes fenced blocks, all those of a turn as one program."""
        blocks = [block.strip("\n") for block in FENCED.findall(text)] if "python" in self.names else []
        return (Call("python", {"code": "\n".join(blocks)}),) if blocks else ()

    def _finished(self, text: str) -> Reply:
        answer = self._dialogue.read_answer(text) if text else ""
        return Reply(text.strip() if answer is None else answer, done=True, valid=answer is not None)

    async def _open(self, id: str) -> Toolbox:
        rng = random.Random(id.encode(errors="surrogatepass"))
        context = ToolContext(self._services, rng, self._settings.sandbox, trajectory=id)
        return await Toolbox.open(self._tools, context)

    async def _free(self, id: str) -> None:
        held = self._table.pop(id, None)
        if held is not None:
            try:
                async with asyncio.timeout(CLOSING_SECONDS):
                    await held.toolbox.close()
            except Exception:
                log.exception("trajectory %s could not be closed", id)  # nobody waits for it who could be told


def _unexpected(error: Exception) -> Reply:
    log.error("an action failed", exc_info=error)
    return failed(f"the server failed: {type(error).__name__}: {error}")
