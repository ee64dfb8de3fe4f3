"""Connections to an OpenEnv server. Needs websockets, and so is imported late."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidURI, WebSocketException

from agentgym.errors import ConfigError, EnvError, ToolTimeout
from agentgym.serving.token import find_token

MAX_MESSAGE = 100 << 20
"""Bytes of an observation; as many as OpenEnv's own client takes."""
CLOSING_SECONDS = 3.0


class Full(EnvError):
    """The server has as many episodes as it allows."""


class Unfit(EnvError):
    """The action does not fit the server's schema."""


@dataclass(frozen=True, slots=True)
class Server:
    """url, timeout, token, ...: as in Openenv."""

    url: str
    timeout: float
    token: str = field(repr=False)
    token_env: str
    token_file: str

    async def open(self) -> OpenServer:
        """Raises EnvError when there is no OpenEnv server, ConfigError."""
        named = (
            self.token or self.token_env or self.token_file
        )  # no token goes to a server that it was not meant for
        token = find_token(self.token, self.token_env, self.token_file) if named else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        base = re.sub("^ws", "http", self.url.rstrip("/"))
        try:
            async with httpx.AsyncClient(timeout=self.timeout, headers=headers) as http:
                response = await http.get(f"{base}/schema")
            response.raise_for_status()
            fields = tuple(response.json()["action"].get("properties", {}))
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise EnvError(f"no OpenEnv server at {base}: {type(error).__name__}: {error}") from error
        return OpenServer(re.sub("^http", "ws", base) + "/ws", headers, fields, self.timeout)


class OpenServer:
    """A server that answers. action_fields: of its actions."""

    def __init__(self, url: str, headers: dict[str, str], action_fields: tuple[str, ...], timeout: float) -> None:
        self.action_fields = action_fields
        self._url, self._headers, self._timeout = url, headers, timeout

    async def begin(self, data: dict[str, Any]) -> tuple[Link, dict[str, Any]]:
        """A connection with an episode, and what reset showed. Waits for room where the server is full.

        Raises EnvError, ToolTimeout.
        """
        tries = AsyncRetrying(
            retry=retry_if_exception_type(Full),
            wait=wait_random_exponential(multiplier=0.1, max=5.0),
            stop=stop_after_delay(self._timeout),
            reraise=True,
        )
        return await tries(self._begin, data)

    async def _begin(self, data: dict[str, Any]) -> tuple[Link, dict[str, Any]]:
        try:
            connection = await connect(
                self._url,
                additional_headers=self._headers,
                open_timeout=self._timeout,
                close_timeout=CLOSING_SECONDS,
                max_size=MAX_MESSAGE,
            )
        except InvalidURI as error:
            raise ConfigError(f"url: {error}") from error
        except TimeoutError as error:
            raise ToolTimeout(f"{self._url} took no connection within {self._timeout:g} s") from error
        except (OSError, WebSocketException) as error:
            raise EnvError(f"{self._url} cannot be connected to: {error}") from error
        link = Link(connection, self._url, self._timeout)
        try:
            return link, await link.ask("reset", data)
        except BaseException:
            await link.close()
            raise

    async def close(self) -> None:
        """Connections belong to their episodes."""


class Link:
    """One connection. After an error other than Unfit it is of no use."""

    def __init__(self, connection: ClientConnection, url: str, timeout: float) -> None:
        self._connection, self._url, self._timeout = connection, url, timeout
        self._lost = ""

    async def ask(self, kind: str, data: Any) -> dict[str, Any]:
        """The data of the server's answer; raises EnvError, ToolTimeout."""
        if self._lost:
            raise EnvError(self._lost)
        try:
            async with asyncio.timeout(self._timeout):
                with contextlib.suppress(ConnectionClosed):  # why it hung up may still be there to read
                    await self._connection.send(json.dumps({"type": kind, "data": data}))
                answer = json.loads(await self._connection.recv())
            return _read(answer)
        except Unfit:
            raise
        except TimeoutError as error:
            self._lost = f"{self._url} gave no answer to {kind} within {self._timeout:g} s"
            raise ToolTimeout(self._lost) from error
        except (WebSocketException, OSError) as error:
            self._lost = f"{self._url} hung up, and the episode is lost: {error}"
            raise EnvError(self._lost) from error
        except (ValueError, LookupError, TypeError) as error:
            self._lost = f"{self._url} does not speak OpenEnv's protocol: {type(error).__name__}: {error}"
            raise EnvError(self._lost) from error
        except EnvError as error:
            self._lost = str(error)
            raise

    async def close(self) -> None:
        """Hang up; may be called twice."""
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._connection.send('{"type": "close"}')
        except (TimeoutError, WebSocketException, OSError):
            self._lost = "hung up"  # the server knows, or is gone
        await self._connection.close()


def _read(answer: Any) -> dict[str, Any]:
    """The data of an observation."""
    data: dict[str, Any] = answer["data"]
    if answer["type"] == "error":
        text = f"{data['message']} {json.dumps(data['errors'], default=str) if 'errors' in data else ''}".strip()
        kinds = {"VALIDATION_ERROR": Unfit, "CAPACITY_REACHED": Full}
        raise kinds.get(data.get("code", ""), EnvError)(text)
    fits = answer["type"] == "observation" and isinstance(data["observation"], dict)
    if not (fits and isinstance(data["done"], bool)):
        raise ValueError(f"an observation was expected, not {str(answer)[:200]}")
    return data
