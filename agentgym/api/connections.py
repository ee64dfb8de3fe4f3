"""Connections to one server, each lent to one request at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx

from agentgym.api.failures import ApiFailure


class Connections:
    """Made when they are wanted. Each is a client of its own: a pool looks at all of its connections for every
    request, which with hundreds takes longer than the request."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)
        self._tls = httpx.create_ssl_context()
        self._idle: list[httpx.AsyncClient] = []
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client that nobody else uses meanwhile: the last used, which is likely to be connected. One whose
        request was broken off is not used again: its pool may wait forever for what was cancelled."""
        if self._closed:
            raise ApiFailure("the client was closed")
        client = self._idle.pop() if self._idle else self._make()
        whole = False
        try:
            yield client
            whole = not self._closed
        finally:
            if whole:
                self._idle.append(client)
            else:
                await client.aclose()

    async def close(self) -> None:
        """End those that are idle now, and the others once they are given back; may be called twice."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()

    def _make(self) -> httpx.AsyncClient:
        # no timeout: silence has a deadline of its own, which what keeps a connection alive does not put off
        return httpx.AsyncClient(headers=self._headers, verify=self._tls, timeout=None)
