"""Sandbox `http`: sessions on another machine, where `agentgym serve` runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentgym.ranges import above
from agentgym.serving.address import check_url

if TYPE_CHECKING:
    from agentgym.sandbox import Protection
    from agentgym.sandboxes.remote.session import HttpHost


@dataclass(frozen=True)
class Http:
    """Runs policy code in the sandbox that a server gives out.

    url: the server's. token, token_env, token_file: what it wants to be shown: itself, a variable or a file that
    holds it; a token written here is written into the run directory as well. Without any, the variable
    AGENTGYM_TOKEN is looked at. timeout: seconds of wall time per
    run. patience: seconds that a call may take beyond its program's timeout, in queues and in being sent again.
    lease: seconds after which the server ends a session whose client is silent, also for a blocked event loop.
    max_connections: calls at once.
    """

    url: str = "http://127.0.0.1:8811"
    token: str = field(default="", repr=False)
    token_env: str = ""
    token_file: str = ""
    timeout: float = 5.0
    patience: float = 60.0
    lease: float = 120.0
    max_connections: int = 256

    def __post_init__(self) -> None:
        above(self, 0, "timeout", "patience", "lease", "max_connections")
        check_url(self.url)

    async def open(self) -> HttpHost:
        """Meet the server; raises SandboxError when it does not answer, or refuses the token or the settings."""
        from agentgym.sandboxes.remote.session import HttpHost

        host = HttpHost(self)
        try:
            await host.start()
        except BaseException:
            await host.close()
            raise
        return host

    async def protections(self) -> list[Protection]:
        """Those of the sandbox behind the server."""
        host = await self.open()
        try:
            return await host.protections()
        finally:
            await host.close()
