"""The weights of a vLLM server: exchanged through a folder that it reads, and known by a name that it tells."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay

from agentgym.api.client import WAIT, ApiClient
from agentgym.api.failures import ApiFailure, Later, Refusal
from agentgym.api.wire import CacheReset, WeightInfo
from agentgym.errors import ConfigError, EngineError

HOW = "start vLLM with VLLM_SERVER_DEV_MODE=1 (docs/api_models.md says how)"

logger = logging.getLogger(__name__)


class ServerWeights:
    """Weights are given while sampling stands still, under a name that dies with the server's process: as long as
    the server says it, the weights are these. A server that was started again is given them again.

    lost: how often it was found without them; what was sampled since nobody knows by which weights.
    """

    def __init__(self, client: ApiClient, took_on: Callable[[int], None]) -> None:
        """took_on: is told the version that is sampled with from now on, before the server goes on."""
        self.lost = 0
        self._client, self._took_on = client, took_on
        self._root = urljoin(client.settings.base_url.rstrip("/") + "/", "..")
        self._name, self._given = "", (Path(), 0)
        self._changing = asyncio.Lock()
        self._asking: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def give(self, folder: Path, version: int) -> None:
        """The server samples with the weights in this folder. Raises ConfigError where it cannot be told to, or
        cannot load them, and EngineError where it is gone."""
        async with self._changing:
            if self._name:
                await self._patiently(self._check_name)
            self._given = folder, version
            await self._patiently(self._exchange)

    async def confirm(self) -> None:
        """See to it that the server has the weights, and count it as lost where it has not had them since `give`.
        Those who ask while it is being asked share the next answer."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._asking))
        await asyncio.shield(self._next)

    def close(self) -> None:
        """Ask no more."""
        for task in (self._asking, self._next):
            if task is not None:
                task.cancel()

    async def _after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._next = self._next, None
        async with self._changing:
            lost = self.lost
            await self._patiently(self._check_name)
            if self.lost != lost:
                await self._patiently(self._exchange)

    async def _check_name(self) -> None:
        told = await self._client.tell(self._root + "weight_info", None, WeightInfo)
        if told.weight_version == self._name:
            return
        if told.weight_version.startswith("agentgym-"):
            raise ConfigError(f"engine openai: {self._root} was given other weights, by another run")
        self.lost += 1
        logger.warning("engine openai: %s was started again; it is given the weights again", self._root)

    async def _exchange(self) -> None:
        """From the first to the last step at one process: one that dies is begun with again."""
        folder, version = self._given
        name = f"agentgym-{uuid.uuid4().hex}-v{version}"
        async with self._paused():
            body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            try:
                await self._post("collective_rpc", body)
            except Later as error:
                if error.status != 500:  # it is away, or what stands before it says so
                    raise
                raise ConfigError(
                    f"{error}: the server could not load the weights in {folder}. Does it see that folder, as a "
                    "user who may read it, and serve the model that is trained? It may have lost its weights over "
                    "this: start it again"
                ) from error
            reset = await self._client.tell(
                self._root + "reset_prefix_cache?reset_running_requests=true", {}, CacheReset
            )
            if not reset.success:
                raise EngineError(f"{self._root}: what it has cached under the old weights could not be dropped")
            await self._post("update_weight_version", {"new_version": name})
            self._name = name
            self._took_on(version)

    @asynccontextmanager
    async def _paused(self) -> AsyncIterator[None]:
        await self._post("pause?mode=keep&clear_cache=false", {})
        try:
            yield
        except Later:  # it is gone, and what comes in its place does not stand still
            raise
        except BaseException:
            await self._post("resume", {})
            raise
        await self._post("resume", {})

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        await self._client.tell(self._root + path, body, dict[str, Any])

    async def _patiently(self, job: Callable[[], Awaitable[None]]) -> None:
        """The job, begun again while the server is away."""

        def note(state: RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome:
                logger.warning("%s; waiting for it", state.outcome.exception())

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, Later)),
            before_sleep=note,
            wait=WAIT,
            stop=stop_before_delay(self._client.settings.patience),
            reraise=True,
        )
        try:
            await retrying(job)
        except Refusal as error:
            raise ConfigError(f"{error}: weights cannot be exchanged with this server: {HOW}") from error
        except ApiFailure as error:
            raise EngineError(str(error)) from error
