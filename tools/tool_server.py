"""Tool `tool_server`: the tools of a server that speaks VerlTool's protocol, ours or theirs."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from agentgym.errors import SandboxError, ToolError, ToolFailed, ToolTimeout
from agentgym.ranges import above
from agentgym.retry import retry_after
from agentgym.serving.address import check_url
from agentgym.serving.token import find_token
from agentgym.tool import Limits, ToolContext

if TYPE_CHECKING:
    import httpx

PATH = "/get_observation"
CLOSING_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connections:
    """A service: the connections of a run to one server."""

    url: str
    token: str = field(repr=False)
    most: int

    async def open(self) -> Open:
        return Open(self)


class Open:
    """Live connections."""

    def __init__(self, to: Connections) -> None:
        import httpx

        self.http = httpx.AsyncClient(
            base_url=to.url,
            headers={"Authorization": f"Bearer {to.token}"} if to.token else {},
            limits=httpx.Limits(max_connections=to.most, max_keepalive_connections=to.most),
            timeout=None,  # a call has one deadline for everything
        )

    async def close(self) -> None:
        """End them."""
        await self.http.aclose()


@dataclass(eq=False)
class ToolServer:
    """An episode's state on a server.

    url: the server's. wrap: what is sent, with the argument for `{}`; `<python>{}</python>`, say. timeout: seconds
    that an answer may take, waiting for room on the server included. token, token_env, token_file: what the server
    wants to be shown: itself, a variable or a file that holds it. stateless: the server's tools keep nothing from
    call to call, so that forks may begin anew. max_connections: to the server, of a run.
    """

    url: str = "http://127.0.0.1:5000"
    wrap: str = "{}"
    timeout: float = 60.0
    token: str = field(default="", repr=False)
    token_env: str = ""
    token_file: str = ""
    stateless: bool = False
    max_connections: int = 256
    _trajectory: str = field(default="", init=False, repr=False)
    _open: Open | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        if self.wrap.count("{}") != 1:
            raise ValueError(f"wrap: one {{}} is needed where the argument goes, not {self.wrap!r}")
        above(self, 0, "timeout", "max_connections")

    @property
    def limits(self) -> Limits:
        """It sees to `timeout` itself."""
        return Limits(timeout=self.timeout + 1.0)

    async def __call__(self, action: str, context: ToolContext) -> str:
        """Send an action to the tool server, and see what comes of it.

        Args:
            action: The action.
        """
        if self._open is None:
            token = find_token(self.token, self.token_env, self.token_file)
            to = Connections(self.url.removesuffix(PATH).rstrip("/"), token, self.max_connections)
            self._open = await context.services.get(to)
            self._trajectory = f"{context.trajectory}-{uuid4().hex[:12]}"  # other runs may use the server as well
        answer = await self._post(self._open.http, self.wrap.replace("{}", action), self.timeout)
        text, done, valid = _read(answer)
        if done and not valid:
            raise ToolFailed(f"tool server {self.url}: {text}")
        if not valid:
            raise ToolError(text)
        return text

    async def fork(self) -> ToolServer:
        """A second one, whose state on the server begins with its first call. Raises SandboxError where this one
        has a state, which no server can copy."""
        if self._open is not None and not self.stateless:
            raise SandboxError(
                f"tool server {self.url}: a trajectory's state on it cannot be copied; where its tools have none, "
                "say stateless=true"
            )
        return replace(self)

    async def close(self) -> None:
        """Let the server free what it holds for the episode; may be called twice."""
        if self._open is not None:
            opened, self._open = self._open, None
            try:
                await self._post(opened.http, "", CLOSING_SECONDS, end=True)
            except (ToolTimeout, ToolFailed) as error:
                log.warning("a trajectory was not ended: %s", error)  # servers give up idle ones themselves

    async def _post(self, http: httpx.AsyncClient, text: str, seconds: float, end: bool = False) -> Any:
        """The server's answer; raises ToolTimeout, ToolFailed. Sent again only where nothing was done."""
        import httpx

        body = {
            "trajectory_ids": [self._trajectory],
            "actions": [text],
            "finish": [end],
            "is_last_step": [end],
            "extra_fields": [{}],
        }
        try:
            async with asyncio.timeout(seconds):
                while True:
                    response = await http.post(PATH, json=body)
                    after = retry_after(response.headers)
                    if response.status_code != 503 or after is None:
                        break
                    await asyncio.sleep(after * random.uniform(0.5, 1.5))
            response.raise_for_status()
            return response.json()
        except TimeoutError as error:
            raise ToolTimeout(f"tool server {self.url} gave no answer within {seconds:g} s") from error
        except httpx.HTTPStatusError as error:
            said = f"{error.response.status_code}: {error.response.text[:200]}"
            raise ToolFailed(f"tool server {self.url} answered {said}") from error
        except (httpx.HTTPError, ValueError) as error:
            raise ToolFailed(f"tool server {self.url}: {type(error).__name__}: {error}") from error


def _read(answer: Any) -> tuple[str, bool, bool]:
    """Text, done and valid of an answer to one action; raises ToolFailed when it is none."""
    try:
        observation, done, valid = (answer[name][0] for name in ("observations", "dones", "valids"))
        if isinstance(observation, dict):
            reasons = (observation.get(name) for name in ("obs", "error", "invalid_reason"))
            observation = next((reason for reason in reasons if reason), "")
        if not isinstance(observation, str):
            raise TypeError(f"an observation is text, not {type(observation).__name__}")
    except (LookupError, TypeError) as error:
        raise ToolFailed(f"the tool server answered what is no observation: {error}: {answer!r:.200}") from error
    return observation.strip(), bool(done), bool(valid)
