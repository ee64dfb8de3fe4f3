"""An OpenAI-like server: chat by a script, completions of token ids by a real engine. It counts what it has used.

Also a program, `python api_server.py PORT N`, which serves `counting` and is killed by its N-th request.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agentgym.serving.loop import serving


@dataclass
class Says:
    """A reply. text: before any stop text is looked for. calls: names and arguments, as text. told: whether the
    server names the stop text, as vLLM does. finish: in place of what follows from the text."""

    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    told: bool = False
    finish: str = ""
    keeps_stop: bool = False


def tokens_of(text: str) -> list[str]:
    """Words with the space after them."""
    return re.findall(r"\S+\s*|\s+", text)


@dataclass
class ApiServer:
    """script: a reply, or a whole response, from the body of a request. context: tokens of messages and answer
    that the model has room for. hold: replies wait for it. engine: the real one that completions are asked of.
    requests, prompt_tokens, completion_tokens: of all that were answered to the end."""

    script: Callable[[dict[str, Any]], Says | Response] = lambda body: Says("hello")
    context: int = 10**9
    hold: asyncio.Event | None = None
    engine: Any = None
    usage: bool = True
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    now: int = 0
    most: int = 0

    async def chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.bodies.append(body)
        said = self.script(body)
        if isinstance(said, Response):
            return said
        prompt = sum(len(tokens_of(message["content"] or "")) for message in body["messages"])
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        if prompt + wanted > self.context:
            text = f"This model's maximum context length is {self.context} tokens. However, you requested more."
            return JSONResponse({"error": {"message": text, "code": "context_length_exceeded"}}, status_code=400)
        room = min(wanted or 10**9, self.context - prompt)
        if not body.get("stream"):
            return JSONResponse({**self._whole(body, said, room), "usage": self._bill(prompt, said)})
        return StreamingResponse(self._stream(body, said, prompt, room), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any], said: Says, prompt: int, room: int) -> AsyncIterator[str]:
        self.now += 1
        self.most = max(self.most, self.now)
        self.asked.set()
        try:
            if self.hold is not None:
                await self.hold.wait()
            choice = self._whole(body, said, room)["choices"][0]
            message = choice.pop("message")
            for bit in tokens_of(message["content"]):
                yield _event({"choices": [{"index": 0, "delta": {"content": bit}}]})
            for at, call in enumerate(message["tool_calls"]):
                half = len(call["function"]["arguments"]) // 2
                first = {**call["function"], "arguments": call["function"]["arguments"][:half]}
                yield _event({"choices": [{"delta": {"tool_calls": [{**call, "index": at, "function": first}]}}]})
                rest = {"index": at, "function": {"arguments": call["function"]["arguments"][half:]}}
                yield _event({"choices": [{"delta": {"tool_calls": [rest]}}]})
            yield _event({"choices": [{**choice, "delta": {}}]})
            if self.usage:
                yield _event({"choices": [], "usage": self._bill(prompt, said)})
            yield "data: [DONE]\n\n"
        finally:
            self.now -= 1

    def _whole(self, body: dict[str, Any], said: Says, room: int) -> dict[str, Any]:
        text, finish, stopped = said.text, said.finish or ("tool_calls" if said.calls else "stop"), None
        ends = [(text.find(stop), stop) for stop in body.get("stop") or () if stop in text]
        if ends:
            at, stopped = min(ends)
            text = text[: at + len(stopped) * said.keeps_stop]
        bits = tokens_of(text)
        if len(bits) > room:
            text, finish, stopped = "".join(bits[:room]), "length", None
        calls = [
            {
                "id": f"call_{len(self.bodies)}_{i}",
                "type": "function",
                "function": {"name": name, "arguments": given},
            }
            for i, (name, given) in enumerate(said.calls)
        ]
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        choice["message"] = {"role": "assistant", "content": text, "tool_calls": calls}
        if said.told:
            choice["stop_reason"] = stopped
        if body.get("logprobs"):
            listed = [_token(bit, body["top_logprobs"]) for bit in tokens_of(text)]
            choice["logprobs"] = {"content": listed}
        return {"choices": [choice]}

    def _bill(self, prompt: int, said: Says) -> dict[str, int]:
        completion = len(tokens_of(said.text)) + 5 * len(said.calls) + 1
        self.requests += 1
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        return {"prompt_tokens": prompt, "completion_tokens": completion}

    async def complete(self, request: Request) -> Response:
        """As vLLM does, of one prompt of token ids."""
        from agentgym.engine import Sampling

        body = json.loads(await request.body())
        self.bodies.append(body)
        ids = body["prompt"]
        if len(ids) + body["max_tokens"] > self.context:
            text = f"This model's maximum context length is {self.context} tokens."
            return JSONResponse({"error": {"message": text, "code": 400}}, status_code=400)
        if "prompt_logprobs" in body:
            scored = await self.engine.score(ids)
            rows = [None, *({str(i): {"logprob": v}} for i, v in zip(ids[1:], scored.logprobs[1:], strict=True))]
            choice = {"finish_reason": "length", "token_ids": [0], "prompt_logprobs": rows}
            return JSONResponse(
                {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}}
            )
        sampling = Sampling(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            top_k=max(body["top_k"], 0),
            stop=tuple(body["stop"]),
            seed=body["seed"],
        )
        sample = await self.engine.sample(ids, sampling)
        return StreamingResponse(self._token_stream(ids, sample), media_type="text/event-stream")

    async def _token_stream(self, ids: list[int], sample: Any) -> AsyncIterator[str]:
        tokens = sample.tokens
        for index, value in zip(tokens.ids, tokens.logprobs, strict=True):
            logprobs = {"token_logprobs": [value], "top_logprobs": [{f"token_id:{index}": value}]}
            yield _event({"choices": [{"token_ids": [index], "logprobs": logprobs, "text": ""}]})
        finish = "length" if sample.finish == "length" else "stop"
        yield _event({"choices": [{"token_ids": [], "text": "", "finish_reason": finish}]})
        yield _event({"choices": [], "usage": {"prompt_tokens": len(ids), "completion_tokens": len(tokens)}})
        yield "data: [DONE]\n\n"

    async def models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": "m", "max_model_len": self.context}]})

    def app(self) -> Starlette:
        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/v1/models", self.models),
        ]
        return Starlette(routes=routes)


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


def _token(text: str, top: int) -> dict[str, Any]:
    """A token that has half of the probability; the others share a quarter."""
    others = [{"token": f"~{i}", "logprob": -2.0794415416798357 - i} for i in range(top - 1)]
    likely = {"token": text, "logprob": -0.6931471805599453, "bytes": list(text.encode())}
    return {**likely, "top_logprobs": [likely, *others][:top]}


@asynccontextmanager
async def running(server: ApiServer) -> AsyncIterator[ApiServer]:
    """The server on a port of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        async with serving(server.app(), listener) as url:
            server.url = f"{url}/v1"
            yield server


def counting(body: dict[str, Any]) -> Says:
    """Says the number that comes after the last one in the conversation; every seventh goes wrong."""
    said = int(re.findall(r"\d+", body["messages"][-1]["content"])[-1])
    return Says(f"<say>{said + 1 if said % 7 else 0}</say> and more", told=True)


async def main(port: int, dies_after: int) -> None:
    server = ApiServer()

    def script(body: dict[str, Any]) -> Says:
        if len(server.bodies) == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return counting(body)

    server.script = script
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        async with serving(server.app(), listener):
            print("serving", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
