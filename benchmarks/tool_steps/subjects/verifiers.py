"""verifiers: its ToolEnv of before version 0.4, whose rollout asks a client for each turn. Here a script answers
at once; a step is what passes between its answer and the next question."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from contextvars import ContextVar
from typing import Any

from episode import ANSWER, CLOSING, SAID, TURNS, Subject, must


class Policy:
    """The script of one episode. gate: what the second answer waits for."""

    def __init__(self, seconds: list[float], gate: asyncio.Event | None = None) -> None:
        self.seconds, self.gate, self.turn, self.answered = seconds, gate, 0, 0.0


POLICY: ContextVar[Policy] = ContextVar("policy")


async def echo(text: str) -> str:
    """Say it again.

    Args:
        text: What to say.
    """
    return text


def make() -> Subject:
    legacy = importlib.import_module("verifiers.legacy")
    clients = importlib.import_module("verifiers.legacy.clients.client")
    types = importlib.import_module("verifiers.legacy.types")
    datasets = importlib.import_module("datasets")

    class Script(clients.Client):
        def setup_client(self, config: Any) -> None: ...

        async def to_native_tool(self, tool: Any) -> Any:
            return tool

        async def to_native_prompt(self, messages: Any) -> tuple[Any, dict[str, Any]]:
            return messages, {}

        async def raise_from_native_response(self, response: Any) -> None: ...

        async def from_native_response(self, response: Any) -> Any:
            return response

        async def close(self) -> None: ...

        async def get_native_response(
            self, prompt: Any, model: str, sampling_args: Any, *_: Any, **__: Any
        ) -> Any:
            policy = POLICY.get()
            if policy.turn:
                policy.seconds.append(time.perf_counter() - policy.answered)
                if policy.gate is not None:
                    await policy.gate.wait()
            await asyncio.sleep(0)
            policy.turn += 1
            last = policy.turn == TURNS
            called = types.ToolCall(id=f"call_{policy.turn}", name="echo", arguments=json.dumps({"text": SAID}))
            message = types.ResponseMessage(
                content=CLOSING if last else "Let me see.",
                tool_calls=None if last else [called],
                finish_reason="stop" if last else "tool_calls",
                is_truncated=False,
            )
            policy.answered = time.perf_counter()
            return types.Response(id="1", created=0, model=model, message=message)

    async def right(completion: Any) -> float:
        return float(ANSWER in completion[-1].content)

    row = {"question": "Say hello.", "answer": ANSWER}
    env = legacy.ToolEnv(
        tools=[echo],
        max_turns=TURNS,
        dataset=datasets.Dataset.from_list([row]),
        rubric=legacy.Rubric(funcs=[right]),
    )
    asked = dict(env.get_dataset()[0])
    client = Script(None)

    class Verifiers(Subject):
        idlers = 200

        def __init__(self) -> None:
            self.waiting: list[asyncio.Task[Any]] = []

        async def episode(self, seconds: list[float]) -> None:
            policy = Policy(seconds)
            POLICY.set(policy)
            output = await env.run_rollout(asked, client, "script", {})
            seconds.append(time.perf_counter() - policy.answered)
            must(output["reward"] == 1.0 and policy.turn == TURNS, output)

        async def idle(self) -> Any:
            taken: list[float] = []
            POLICY.set(Policy(taken, asyncio.Event()))
            task = asyncio.create_task(env.run_rollout(asked, client, "script", {}))
            while not taken:
                must(not task.done(), task)
                await asyncio.sleep(0)
            self.waiting.append(task)
            return task

        async def close(self) -> None:
            for task in self.waiting:
                task.cancel()
            await asyncio.gather(*self.waiting, return_exceptions=True)

    return Verifiers()
