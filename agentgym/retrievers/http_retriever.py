"""Searches on a server, sent again until they are answered or the time is up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from agentgym.errors import ToolFailed, ToolTimeout
from agentgym.retriever import Hit
from agentgym.retrievers.batcher import Batcher
from agentgym.retrievers.wire import PATH, Asked, from_answer
from agentgym.retry import SentAway, retry_after, wait
from agentgym.serving.token import find_token

if TYPE_CHECKING:
    from agentgym.retrievers.http import Http

LATER = (429, 502, 503, 504)
"""Answers of a server, or of what stands before it, that has no time now."""
WAIT = wait(wait_random_exponential(multiplier=0.1, max=2.0))
SHOWN = 200
"""Characters of an answer that an error quotes."""

_log = logging.getLogger(__name__)


class Later(SentAway):
    """slow: time ran out."""

    def __init__(self, reason: str, after: float = 0.0, slow: bool = False) -> None:
        super().__init__(reason, after)
        self.slow = slow


class HttpRetriever:
    """Connections to one server, shared by all episodes. Raises ConfigError for a token that cannot be read."""

    def __init__(self, config: Http) -> None:
        token = find_token(config.token, config.token_env, config.token_file)
        self._url = config.url.rstrip("/").removesuffix(PATH)
        self._address = httpx.URL(self._url + PATH)
        self._timeout, self._patience = config.timeout, config.patience
        self._trouble: Later | None = None  # of the latest try
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        most = config.max_connections
        self._http = httpx.AsyncClient(
            headers={"Content-Type": "application/json", **authorization},
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            timeout=None,  # a try has one deadline for everything
        )
        self._batcher = Batcher(self._send, config.max_batch, config.max_connections)

    @property
    def description(self) -> str:
        """The server's address."""
        return f"the search server {self._url}"

    async def meet(self) -> None:
        """Find out that a server is there and takes the token; raises ToolTimeout, ToolFailed."""
        _log.info("meeting %s, for up to %g s", self.description, self._patience)
        async with self._deadline():
            response = await self._ask("GET")  # what it makes of that does not matter, and nothing is searched
        if response.status_code in (401, 403):
            raise self._unfit(response)

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The hits of each query; raises ToolTimeout, ToolFailed."""
        async with self._deadline():
            return await self._batcher.search(queries, k)

    async def close(self) -> None:
        """End the connections; may be called twice."""
        await self._batcher.close()
        await self._http.aclose()

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        """For one search, which may be under way with others: says what went wrong with the latest try of any."""
        deadline = asyncio.timeout(self._patience)
        try:
            async with deadline:
                yield
        except TimeoutError as error:
            if not deadline.expired():
                raise
            text = f"{self.description} gave no answer within {self._patience:g} s"
            if self._trouble is None or self._trouble.slow:
                raise ToolTimeout(text) from error
            raise ToolFailed(f"{text}: {self._trouble}") from error

    async def _send(self, queries: list[str], k: int) -> list[list[Hit]]:
        """The hits of each query, from one request."""
        texts = [query.encode(errors="replace").decode() for query in queries]  # policies write half surrogates
        response = await self._ask("POST", msgspec.json.encode(Asked(texts, k, return_scores=True)))
        if response.status_code != 200:
            raise self._unfit(response)
        try:
            found = from_answer(response.content)
        except ValueError as error:
            raise self._unfit(response, str(error)) from error
        if len(found) != len(queries):
            raise self._unfit(response, f"{len(found)} results for {len(queries)} queries")
        return [hits[:k] for hits in found]

    async def _ask(self, method: str, body: bytes = b"") -> httpx.Response:
        """The answer of a server that has time; raises ToolFailed when it has none for as long as anyone waits."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Later), wait=WAIT, stop=stop_after_delay(self._patience), reraise=True
        )
        try:
            return await retrying(self._try, method, body)
        except Later as error:
            raise ToolFailed(f"{self.description}: {error}") from error

    async def _try(self, method: str, body: bytes) -> httpx.Response:
        """One answer; raises Later."""
        try:
            response = await self._answer(method, body)
        except Later as error:
            self._trouble = error
            raise
        self._trouble = None
        return response

    async def _answer(self, method: str, body: bytes) -> httpx.Response:
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._http.request(method, self._address, content=body)
        except TimeoutError as error:
            raise Later(f"nothing within {self._timeout:g} s", slow=True) from error
        except httpx.TransportError as error:
            raise Later(f"{type(error).__name__}: {error}") from error
        except httpx.RequestError as error:
            raise ToolFailed(f"{self.description}: {type(error).__name__}: {error}") from error
        if response.status_code in LATER:
            raise Later(_shown(response), retry_after(response.headers) or 0.0)
        return response

    def _unfit(self, response: httpx.Response, why: str = "") -> ToolFailed:
        return ToolFailed(f"{self.description} answered {_shown(response)}{f' ({why})' if why else ''}")


def _shown(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}: {response.text[:SHOWN]!r}"
