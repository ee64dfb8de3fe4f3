"""A request and its answer, by the package openai."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import openai

from agentgym.api.connections import Connections
from agentgym.api.failures import Later
from agentgym.api.sdk_errors import failure_of


class Transport:
    """Requests to one server. timeout: seconds for which it may say nothing."""

    def __init__(self, base_url: str, key: str, timeout: float) -> None:
        self._connections = Connections(base_url, key)
        self._timeout = timeout

    async def exchange(self, path: str, content: bytes | None, take: Callable[[object], None]) -> None:
        """Hand over the chunks of one answer as they come, or the one body that it is; None is got, not posted.

        Raises Later and Refusal, ValueError for what is no JSON, and whatever `take` raises.
        """
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(self._timeout) as silence,
                self._connections.lend() as client,
                await _ask(client, path, content) as stream,
            ):
                if not stream.response.headers.get("content-type", "").startswith("text/event-stream"):
                    return take(json.loads(await stream.response.aread()))
                async for chunk in stream:
                    silence.reschedule(loop.time() + self._timeout)
                    take(chunk)
        except TimeoutError as error:
            raise Later(f"nothing was said for {self._timeout:g} s") from error
        except openai.APIError as error:
            raise failure_of(error) from error
        except httpx2.RequestError as error:
            raise Later(f"{type(error).__name__}: {error}") from error
        if not stream.ended:
            raise Later("the stream broke off before its end")

    async def close(self) -> None:
        """End the connections; may be called twice."""
        await self._connections.close()


class _Stream(openai.AsyncStream[object]):
    """Knows whether its last event has come: the SDK ends a stream that broke off like one that is whole."""

    ended = False

    async def _iter_events(self) -> AsyncIterator[Any]:
        async for event in super()._iter_events():
            self.ended = event.data.startswith("[DONE]")
            yield event


async def _ask(client: openai.AsyncOpenAI, path: str, content: bytes | None) -> _Stream:
    # as `object`: the SDK's own types hold whatever came, or want fields that many servers leave out
    if content is None:
        return await client.get(path, cast_to=object, stream=True, stream_cls=_Stream)
    return await client.post(path, content=content, cast_to=object, stream=True, stream_cls=_Stream)
