"""Sandbox `sandbox_fusion`: any server that speaks the API of ByteDance's SandboxFusion (`POST /run_code`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym.errors import SandboxError
from agentgym.ranges import above
from agentgym.serving.address import check_url

if TYPE_CHECKING:
    from agentgym.sandbox import Protection
    from agentgym.sandboxes.fusion.session import FusionHost


@dataclass(frozen=True)
class SandboxFusion:
    """Runs policy code on a server that keeps no state: each call replays the session from its beginning.

    A session is therefore exact, and so is its fork, for programs that depend on nothing but the session: not on
    the clock, the network or unseeded numbers (`random` is seeded), and what they do to the world outside happens
    in every replay. One that ends otherwise than before is a SandboxError. Calls get slower as the log grows.

    url: the server's. timeout: seconds of wall time per run; a program may get up to a second more, and as much
    again as the replay took. memory_mb: address space of a run, where the server's isolation is `none`.
    output_limit: bytes per stream and run; the server keeps 1 MiB. patience: seconds that a call may take beyond
    its program's timeout. max_connections: calls at once.
    """

    url: str = "http://127.0.0.1:8080"
    timeout: float = 5.0
    memory_mb: int = 1024
    output_limit: int = 65536
    patience: float = 60.0
    max_connections: int = 64

    def __post_init__(self) -> None:
        above(self, 0, "timeout", "memory_mb", "output_limit", "patience", "max_connections")
        check_url(self.url)

    async def open(self) -> FusionHost:
        """Run an empty program; raises SandboxError when that does not work."""
        from agentgym.sandboxes.fusion.session import FusionHost

        host = FusionHost(self)
        try:
            session = await host.session()
            result = await session.run("")
            if result.status != "ok":
                raise SandboxError(f"{self.url}: an empty program ends as {result.status}: {result.stderr[-200:]}")
        except BaseException:
            await host.close()
            raise
        return host

    async def protections(self) -> list[Protection]:
        """What a program finds on the server, and what replaying cannot give."""
        from agentgym.sandboxes.fusion.session import probe

        host = await self.open()
        try:
            return await probe(host)
        finally:
            await host.close()
