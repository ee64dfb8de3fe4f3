"""The one way to an OpenAI-like server: bounded, tried again, counted, and told apart from its failures."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import msgspec
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

from agentgym.api.failures import SHOWN, Later, Nonsense, Refusal, Unfit
from agentgym.api.settings import ApiSettings
from agentgym.api.wire import Answer, Usage
from agentgym.errors import BudgetSpent
from agentgym.extras import need
from agentgym.llm import Spent
from agentgym.pace import pace
from agentgym.retry import wait

A = TypeVar("A", bound=Answer)
T = TypeVar("T")

log = logging.getLogger("agentgym")

WAIT = wait(wait_random_exponential(multiplier=0.25, max=10.0))
NONSENSE = 8
"""Answers in a row that are no completions, after which it is no accident: nobody speaks this API there."""


class ApiClient:
    """Connections to one server. who: named in errors. Raises ConfigError for a key that is not set, and without
    the extra `openai`.

    spent: what was used so far; of a stream that breaks off, what the server had told of by then. cached: prompt
    tokens that servers found in their caches; None until one tells.
    """

    def __init__(self, settings: ApiSettings, who: str) -> None:
        self.settings = settings
        self.spent = Spent()
        self.cached: int | None = None
        self._told_trouble = False
        self._key = settings.find_key(who)
        self._who = f"{who} at {settings.base_url}"
        need("agentgym.api.transport", "openai", who)
        from agentgym.api.transport import Transport

        self._transport = Transport(settings.base_url, self._key, settings.timeout)
        self._room = asyncio.Semaphore(settings.concurrency)
        rate = settings.rate
        self._pace = pace(rate) if rate else nullcontext()

    async def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        kind: type[A],
        read: Callable[[list[A]], T],
        note: Callable[[A], None] = lambda chunk: None,
    ) -> T:
        """What `read` makes of the answer, whose chunks are of this kind; it raises Unfit for one that is none.
        Nothing is posted where body is None. note: sees each chunk when it comes.

        Raises Refusal, Later when patience or retries are used up, and BudgetSpent; their texts say all.
        """
        content = None if body is None else json.dumps(body).encode()
        trouble: list[BaseException] = []
        patience = self.settings.patience
        async with self._room:
            self._check_budget()
            try:
                async with asyncio.timeout(patience):
                    return await self._retrying(trouble)(self._try, path, content, kind, read, note)
            except TimeoutError as error:
                last = f"; the last try: {trouble[-1]}" if trouble else ""
                raise Later(self._told(f"no answer within {patience:g} s{last}")) from error
            except Refusal as error:
                raise Refusal(self._told(str(error)), error.fault) from error
            except Later as error:
                raise Later(self._told(str(error))) from error

    async def tell(self, url: str, body: Mapping[str, Any] | None, kind: type[T]) -> T:
        """The answer to what is no request for a completion: asked once and at once, however many requests wait,
        and not counted. Nothing is posted where body is None. Raises Refusal and Later."""
        answers: list[object] = []
        try:
            await self._transport.exchange(
                url, None if body is None else json.dumps(body).encode(), answers.append
            )
            return msgspec.convert(answers[0], kind)
        except (msgspec.ValidationError, ValueError, IndexError) as error:
            raise Refusal(self._told(f"{url}: what came is no answer ({error})"), "settings") from error
        except Refusal as error:
            raise Refusal(self._told(f"{url}: {error}"), error.fault) from error
        except Later as error:
            raise Later(self._told(f"{url}: {error}"), error.after, error.status) from error

    async def close(self) -> None:
        """End the connections; may be called twice."""
        await self._transport.close()

    def _retrying(self, trouble: list[BaseException]) -> AsyncRetrying:
        """trouble: is told what was wrong with each try."""

        def note(state: RetryCallState) -> None:
            if state.outcome and (error := state.outcome.exception()):
                trouble.append(error)
                if not self._told_trouble and not self.spent.requests:  # is it there at all?
                    self._told_trouble = True
                    log.warning("%s; asking again for %g s", self._told(str(error)), self.settings.patience)

        tries = self.settings.retries
        many = stop_never if tries is None else stop_after_attempt(tries + 1)
        enough = stop_any(stop_before_delay(self.settings.patience), many)

        def over(state: RetryCallState) -> bool:
            latest = trouble[-NONSENSE:]
            hopeless = len(latest) == NONSENSE and all(isinstance(error, Nonsense) for error in latest)
            return hopeless or enough(state)

        return AsyncRetrying(retry=retry_if_exception_type(Later), after=note, wait=WAIT, stop=over, reraise=True)

    async def _try(
        self,
        path: str,
        content: bytes | None,
        kind: type[A],
        read: Callable[[list[A]], T],
        note: Callable[[A], None],
    ) -> T:
        chunks: list[A] = []
        latest: object = None

        def take(chunk: object) -> None:
            nonlocal latest
            latest = chunk
            chunks.append(msgspec.convert(chunk, kind))
            note(chunks[-1])

        try:
            async with self._pace:
                await self._transport.exchange(path, content, take)
            found = read(chunks)
        except (msgspec.ValidationError, json.JSONDecodeError, UnicodeDecodeError, Unfit) as error:
            said = error.doc if isinstance(error, json.JSONDecodeError) else str(latest)
            raise Nonsense(f"what came is no completion ({error}): {said[:SHOWN]!r}") from error
        finally:
            used = [chunk.usage for chunk in chunks if chunk.usage is not None]
            if used:
                self._count(used[-1])
        if content is not None and not used:
            self._miss_usage()
        return found

    def _count(self, usage: Usage) -> None:
        settings, spent = self.settings, self.spent
        spent.requests += 1
        spent.prompt_tokens += usage.prompt_tokens
        spent.completion_tokens += usage.completion_tokens
        price = usage.prompt_tokens * settings.prompt_price + usage.completion_tokens * settings.completion_price
        spent.cost += price / 1e6
        if usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens is not None:
            self.cached = (self.cached or 0) + usage.prompt_tokens_details.cached_tokens

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
