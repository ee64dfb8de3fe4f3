"""The one way to an OpenAI-like server: bounded, tried again, counted, and told apart from its failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import httpx
import msgspec
from aiolimiter import AsyncLimiter
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    stop_never,
    wait_random_exponential,
)

from agentgym.api.connections import Connections
from agentgym.api.events import Events
from agentgym.api.failures import SHOWN, ApiFailure, Later, Nonsense, Refusal, Unfit, failure_of
from agentgym.api.settings import ApiSettings
from agentgym.api.wire import Answer, Usage
from agentgym.errors import BudgetSpent
from agentgym.llm import Spent

A = TypeVar("A", bound=Answer)
T = TypeVar("T")

BACKOFF = wait_random_exponential(multiplier=0.25, max=10.0)
NONSENSE = 8
"""Answers in a row that are no completions, after which it is no accident: nobody speaks this API there."""


class ApiClient:
    """Connections to one server. who: named in errors. Raises ConfigError for a key that is not set.

    spent: what was used so far; of a stream that breaks off, what the server had told of by then.
    """

    def __init__(self, settings: ApiSettings, who: str) -> None:
        self.settings = settings
        self.spent = Spent()
        self._key = settings.find_key(who)
        self._who = f"{who} at {settings.base_url}"
        self._url = settings.base_url.rstrip("/")
        authorization = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        headers = {"Content-Type": "application/json", **authorization}
        self._connections = Connections(headers)
        self._room = asyncio.Semaphore(settings.concurrency)
        rate = settings.rate
        self._pace = AsyncLimiter(max(rate, 1.0), max(1.0, 1.0 / rate)) if rate else nullcontext()

    async def ask(
        self, path: str, body: Mapping[str, Any] | None, kind: type[A], read: Callable[[list[A]], T]
    ) -> T:
        """What `read` makes of the answer, whose chunks are of this kind; it raises Unfit for one that is none.
        Nothing is posted where body is None.

        Raises Refusal, Later when patience or retries are used up, and BudgetSpent; their texts say all.
        """
        content = None if body is None else json.dumps(body).encode()
        trouble: list[BaseException] = []
        patience = self.settings.patience
        async with self._room:
            self._check_budget()
            try:
                async with asyncio.timeout(patience):
                    return await self._retrying(trouble)(self._try, path, content, kind, read)
            except TimeoutError as error:
                last = f"; the last try: {trouble[-1]}" if trouble else ""
                raise Later(self._told(f"no answer within {patience:g} s{last}")) from error
            except Refusal as error:
                raise Refusal(self._told(str(error)), error.fault) from error
            except Later as error:
                raise Later(self._told(str(error))) from error

    async def close(self) -> None:
        """End the connections; may be called twice."""
        await self._connections.close()

    def _retrying(self, trouble: list[BaseException]) -> AsyncRetrying:
        """trouble: is told what was wrong with each try."""

        def note(state: RetryCallState) -> None:
            if state.outcome and (error := state.outcome.exception()):
                trouble.append(error)

        tries = self.settings.retries
        many = stop_never if tries is None else stop_after_attempt(tries + 1)
        enough = stop_any(stop_before_delay(self.settings.patience), many)

        def over(state: RetryCallState) -> bool:
            latest = trouble[-NONSENSE:]
            hopeless = len(latest) == NONSENSE and all(isinstance(error, Nonsense) for error in latest)
            return hopeless or enough(state)

        return AsyncRetrying(retry=retry_if_exception_type(Later), after=note, wait=_wait, stop=over, reraise=True)

    async def _try(self, path: str, content: bytes | None, kind: type[A], read: Callable[[list[A]], T]) -> T:
        decode = msgspec.json.Decoder(kind).decode
        chunks: list[A] = []
        latest = b""

        def take(data: bytes) -> None:
            nonlocal latest
            latest = data
            chunks.append(decode(data))

        try:
            async with self._pace:
                await self._receive(path, content, take)
            found = read(chunks)
        except (msgspec.DecodeError, UnicodeDecodeError, Unfit) as error:
            said = latest.decode(errors="replace")[:SHOWN]
            raise Nonsense(f"what came is no completion ({error}): {said!r}") from error
        finally:
            used = [chunk.usage for chunk in chunks if chunk.usage is not None]
            if used:
                self._count(used[-1])
        if content is not None and not used:
            self._miss_usage()
        return found

    async def _receive(self, path: str, content: bytes | None, take: Callable[[bytes], None]) -> None:
        """Hand over the parts of one answer as they come; raises Later, Refusal."""
        loop, timeout = asyncio.get_running_loop(), self.settings.timeout
        method = "GET" if content is None else "POST"
        refused: ApiFailure | None = None
        events = Events()
        try:
            async with (
                asyncio.timeout(timeout) as silence,
                self._connections.lend() as http,
                http.stream(method, f"{self._url}/{path}", content=content) as response,
            ):
                if response.status_code != 200:
                    refused = failure_of(response.status_code, response.headers, await response.aread())
                elif not response.headers.get("content-type", "").startswith("text/event-stream"):
                    return take(await response.aread())
                else:
                    async for part in response.aiter_bytes():
                        for data in events.feed(part):
                            silence.reschedule(loop.time() + timeout)
                            take(data)
        except TimeoutError as error:
            raise Later(f"nothing was said for {timeout:g} s") from error
        except httpx.TransportError as error:
            raise Later(f"{type(error).__name__}: {error}") from error
        except httpx.RequestError as error:
            raise Refusal(f"{type(error).__name__}: {error}", "settings") from error
        if refused is not None:
            raise refused
        if not events.ended:
            raise Later("the stream broke off before its end")

    def _count(self, usage: Usage) -> None:
        settings, spent = self.settings, self.spent
        spent.requests += 1
        spent.prompt_tokens += usage.prompt_tokens
        spent.completion_tokens += usage.completion_tokens
        price = usage.prompt_tokens * settings.prompt_price + usage.completion_tokens * settings.completion_price
        spent.cost += price / 1e6

    def _miss_usage(self) -> None:
        """Count an answer that does not tell what it used; raises Refusal where a budget is to be kept."""
        self.spent.requests += 1
        if self.settings.budget_tokens or self.settings.budget_cost:
            raise Refusal("the server does not say what it used, so that no budget can be kept", "settings")

    def _check_budget(self) -> None:
        settings, spent = self.settings, self.spent
        if settings.budget_tokens is not None and spent.tokens >= settings.budget_tokens:
            raise BudgetSpent(
                f"{self._who}: {spent.tokens} tokens are spent and budget_tokens is {settings.budget_tokens}"
            )
        if settings.budget_cost is not None and spent.cost >= settings.budget_cost:
            raise BudgetSpent(f"{self._who}: {spent.cost:g} is spent and budget_cost is {settings.budget_cost:g}")

    def _told(self, reason: str) -> str:
        """Where and what; without the key, which a server may repeat."""
        return f"{self._who}: {reason.replace(self._key, '***') if self._key else reason}"


def _wait(state: RetryCallState) -> float:
    """Seconds until the next try: at least what the server asked for, and never the same for all clients."""
    error = state.outcome.exception() if state.outcome else None
    return BACKOFF(state) + (error.after if isinstance(error, Later) else 0.0)
