"""verifiers' own rollout loop, in a thread, with the policy in the place of the model. Imports verifiers, late."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import verifiers as vf
from verifiers.clients import Client
from verifiers.types import Response, ResponseMessage, ToolCall

from agentgym.envs.calling import Caller
from agentgym.errors import ConfigError, EnvError, ToolTimeout
from agentgym.tool import Call, ToolSpec
from agentgym.types import Message

CLOSING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the loop shows the policy; at the end, what the rubric pays."""

    messages: list[Message]
    tools: list[ToolSpec] = field(default_factory=list)
    over: bool = False
    reward: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)


def frozen(arguments: dict[str, Any]) -> str:
    """Arguments that can be a key."""
    return json.dumps(arguments, sort_keys=True)


def load(id: str, arguments: dict[str, Any]) -> Any:
    """The environment, loaded once, in the main thread as verifiers wants it. Raises ConfigError."""
    return _load(id, frozen(arguments))


@lru_cache(maxsize=8)
def _load(id: str, arguments: str) -> Any:
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        return vf.load_environment(id, **json.loads(arguments))
    except (ImportError, AttributeError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"verifiers' {id}, arguments={arguments}: {error}") from error
    finally:  # an environment of verifiers takes over signals that are ours
        for name, handler in before.items():
            signal.signal(name, handler)


def rows(env: Any, held_out: bool) -> Any:
    """The rows of its data set."""
    return env.get_eval_dataset() if held_out else env.get_dataset()


@dataclass(frozen=True, slots=True)
class Peer:
    """arguments: frozen. timeout: seconds that the loop may take between two words of the policy."""

    id: str
    arguments: str
    timeout: float

    async def open(self) -> LivePeer:
        """Raises ConfigError when it cannot be loaded."""
        return LivePeer(_load(self.id, self.arguments), Caller(f"verifiers' {self.id}", self.timeout))


class LivePeer:
    """An environment and the thread in which all its rollouts run: what blocks there blocks nothing here."""

    def __init__(self, env: Any, call: Caller) -> None:
        self._env, self._call = env, call
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=call.name, daemon=True)
        self._thread.start()

    def begin(self, row: dict[str, Any]) -> Rollout:
        """A rollout of a row of the data set."""
        return Rollout(self._env, self._loop, row, self._call)

    async def close(self) -> None:
        """End the thread. One that hangs in foreign code is left to the end of the process."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        await Caller(self._call.name, 2 * CLOSING_SECONDS)(lambda: self._thread.join(CLOSING_SECONDS))

    def _run(self) -> None:
        with asyncio.Runner(
            loop_factory=lambda: self._loop
        ) as runner:  # ends tasks that are left, closes the loop
            runner.get_loop().run_forever()


class Rollout:
    """One run of the loop."""

    def __init__(self, env: Any, loop: asyncio.AbstractEventLoop, row: dict[str, Any], call: Caller) -> None:
        self._name, self._seconds = call.name, call.seconds
        self._asked: asyncio.Queue[tuple[Sequence[Any], Sequence[Any]]] = asyncio.Queue()
        here = asyncio.get_running_loop()
        tell = lambda prompt, tools: here.call_soon_threadsafe(self._asked.put_nowait, (prompt, tools))  # noqa: E731
        self._policy = Policy(tell)
        job = env.run_rollout({"example_id": 0, **row}, self._policy, "policy", {})
        self._running = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(job, loop))
        self._running.add_done_callback(lambda done: done.cancelled() or done.exception())  # `next` tells of it
        self._seen: list[Message] = []

    def say(self, text: str, calls: Sequence[Call]) -> None:
        """What the policy says."""
        self._seen.append({"role": "assistant", "content": text})
        self._policy.say(text, calls)

    async def next(self) -> Asked:
        """What comes of it. Raises EnvError, ToolTimeout."""
        asking = asyncio.ensure_future(self._asked.get())
        try:
            await asyncio.wait({asking, self._running}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return self._shown(*asking.result())
            if self._running.done():
                return self._paid()
        finally:
            asking.cancel()
        raise ToolTimeout(f"{self._name}: no answer within {self._seconds:g} s")

    def cancel(self) -> None:
        """End it."""
        self._running.cancel()

    def _shown(self, prompt: Sequence[Any], tools: Sequence[Any]) -> Asked:
        """The part of the conversation that is new."""
        told = [_message(said) for said in prompt]
        known = [said["role"] for said in self._seen]
        if [said["role"] for said in told[: len(known)]] != known:
            raise EnvError(f"{self._name} rewrites the conversation, which a policy cannot unsay")
        new, self._seen = told[len(known) :], told
        return Asked(new, [ToolSpec(tool.name, tool.description, tool.parameters) for tool in tools])

    def _paid(self) -> Asked:
        error = self._running.exception()
        if error is not None:
            raise EnvError(f"{self._name} failed: {type(error).__name__}: {error}") from error
        output = self._running.result()
        if output.get("error"):
            raise EnvError(f"{self._name} failed: {output['error']}")
        last = [_message(said) for said in (output.get("completion") or [])[len(self._seen) :]]
        return Asked(
            last, over=True, reward=float(output["reward"]), info={"metrics": dict(output["metrics"] or {})}
        )


class Policy(Client[Any, Any, Any, Any]):  # type: ignore[misc]  # verifiers is not typed
    """A client whose model is asked here, and answers when it is told to."""

    def __init__(self, asked: Callable[[Any, Any], object]) -> None:
        super().__init__(None)
        self._asked = asked
        self._answer: concurrent.futures.Future[tuple[str, Sequence[Call]]] = concurrent.futures.Future()

    def say(self, text: str, calls: Sequence[Call]) -> None:
        """The answer that is waited for."""
        answer, self._answer = self._answer, concurrent.futures.Future()
        answer.set_result((text, calls))

    def setup_client(self, config: Any) -> None:
        """There is nothing to connect to."""

    async def to_native_tool(self, tool: Any) -> Any:
        return tool

    async def to_native_prompt(self, messages: Any) -> tuple[Any, dict[str, Any]]:
        return messages, {}

    async def get_native_response(
        self, prompt: Any, model: str, sampling_args: Any, tools: Any = None, **_: Any
    ) -> Any:
        answer = self._answer
        self._asked(prompt, tools or [])
        return await asyncio.wrap_future(answer)

    async def raise_from_native_response(self, response: Any) -> None:
        """An answer is an answer."""

    async def from_native_response(self, response: tuple[str, Sequence[Call]]) -> Any:
        text, calls = response
        made = [
            ToolCall(id=call.id or f"call_{i}", name=call.tool, arguments=json.dumps(call.arguments))
            for i, call in enumerate(calls)
        ]
        message = ResponseMessage(
            content=text,
            tool_calls=made or None,
            finish_reason="tool_calls" if made else "stop",
            is_truncated=False,
        )
        return Response(id="policy", created=int(time.time()), model="policy", message=message)

    async def close(self) -> None:
        """There is nothing to close."""


def _message(said: Any) -> Message:
    """verifiers' message as ours: its text."""
    table = said if isinstance(said, dict) else said.model_dump()
    content = table.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    message = {"role": table["role"], "content": content}
    if table.get("tool_call_id"):
        message["tool_call_id"] = table["tool_call_id"]
    return cast(Message, message)
