"""A client that keeps trying: requests that may be sent again, until they are answered or the time is up."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from agentgym.errors import SandboxError
from agentgym.retry import SentAway, retry_after, wait
from agentgym.sandboxes.remote.wire import REQUEST_ID, RETRIED, from_json

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 30.0
"""How long, beyond what the call itself takes, nothing may arrive before the connection is taken for dead."""
WAIT = wait(wait_random_exponential(multiplier=0.1, max=5.0))


class Client:
    """Connections to one server. Every request must be one that may be sent again.

    Requests beyond max_connections wait here, where their time does not run yet; httpx would search its queue anew
    with every request, which takes minutes when thousands wait.
    """

    def __init__(self, url: str, token: str, patience: float, max_connections: int) -> None:
        self.url, self._patience = url.rstrip("/"), patience
        self._lines = asyncio.Semaphore(max_connections)
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        )

    async def send(
        self,
        method: str,
        path: str,
        *,
        seconds: float = 0.0,
        patience: float | None = None,
        request_id: str = "",
        **content: Any,
    ) -> httpx.Response:
        """The answer to a request, sent again after failures of the network and when the server is busy.

        seconds: what the call itself may take. patience: beyond that. content: httpx's `json`, `params`, ...
        Raises what the server says, which is a SandboxError or an OSError; SandboxError when time is up.
        """
        patience = self._patience if patience is None else patience
        silence = httpx.Timeout(SILENCE_SECONDS + seconds, connect=CONNECT_SECONDS, pool=None)
        failures: list[str] = [""]

        def note(state: RetryCallState) -> None:
            failures[0] = f": {_reason(state)}"

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((httpx.TransportError, SentAway)), wait=WAIT, before_sleep=note
        )
        headers = {REQUEST_ID: request_id} if request_id else {}
        async with self._lines:
            deadline = asyncio.timeout(seconds + patience)
            try:
                async with deadline:
                    return await retrying(self._send, method, path, headers=headers, timeout=silence, **content)
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                text = f"{self.url} did not answer {method} {path} within {seconds + patience:g} s{failures[0]}"
                raise SandboxError(text) from error

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        await self._http.aclose()

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = await self._http.request(method, path, **options)
        if response.is_success:
            return response
        error = self._error(response)
        if response.status_code in RETRIED:
            raise SentAway(str(error), retry_after(response.headers) or 0.0)
        raise error

    def _error(self, response: httpx.Response) -> SandboxError | OSError:
        try:
            return from_json(response.json())
        except (ValueError, KeyError, TypeError):
            text = f"{response.status_code} {response.reason_phrase}: {response.text[:200]}"
            return SandboxError(f"{self.url} answered {text}")


def _reason(state: RetryCallState) -> str:
    error = state.outcome.exception() if state.outcome else None
    return str(error) or type(error).__name__
