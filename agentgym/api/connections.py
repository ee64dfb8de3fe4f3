"""Clients of the package openai, each lent to one request at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import openai

from agentgym.api.failures import ApiFailure

NO_KEY = "none"
"""What servers that want no key are sent, as the SDK sends one in any case."""


class Connections:
    """Made when they are wanted. Each has a pool of its own: a pool looks at all of its connections for every
    request, which with hundreds takes longer than the request."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._key = key or NO_KEY
        self._tls = httpx2.create_ssl_context()
        self._idle: list[openai.AsyncOpenAI] = []
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[openai.AsyncOpenAI]:
        """A client that nobody else uses meanwhile: the last used, which is likely to be connected. One whose
        request was broken off is not used again: its pool may wait forever for what was cancelled."""
        if self._closed:
            raise ApiFailure("the client was closed")
        client = self._idle.pop() if self._idle else self._make()
        whole = False
        try:
            yield client
            whole = True
        except openai.APIStatusError:  # an answer as well, which was read to its end
            whole = True
            raise
        finally:
            if whole and not self._closed:
                self._idle.append(client)
            else:
                await client.close()

    async def close(self) -> None:
        """End those that are idle now, and the others once they are given back; may be called twice."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    def _make(self) -> openai.AsyncOpenAI:
        # no timeout: silence has a deadline of its own, which what keeps a connection alive does not put off
        http = httpx2.AsyncClient(verify=self._tls, timeout=None)
        return openai.AsyncOpenAI(
            api_key=self._key, base_url=self._base_url, timeout=None, max_retries=0, http_client=http
        )
