"""Sandbox `auto`: the strongest one that works on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentgym.errors import SandboxError
from agentgym.sandboxes.docker import Docker
from agentgym.sandboxes.local import Local, weakness_allowed

if TYPE_CHECKING:
    from agentgym.sandbox import Protection, SandboxConfig, SandboxHost


@dataclass(frozen=True)
class Auto:
    """Takes the first that works of `docker` where the daemon has gVisor's runtime, `local`, `docker`.

    allow_weak: after these, `local` without walls; else an error says why none works. Default: whether the
    variable AGENTGYM_ALLOW_WEAK is 1.
    """

    allow_weak: bool = field(default_factory=weakness_allowed)

    async def open(self) -> SandboxHost:
        """Raises SandboxError when none works."""
        _, host = await self._choose()
        return host

    async def protections(self) -> list[Protection]:
        """Those of the one it takes."""
        config, host = await self._choose()
        await host.close()
        return await config.protections()

    def _candidates(self) -> Iterator[SandboxConfig]:
        yield Docker(runtime="runsc")
        yield Local(allow_weak=False)
        yield Docker()
        if self.allow_weak:
            yield Local(allow_weak=True)

    async def _choose(self) -> tuple[SandboxConfig, SandboxHost]:
        reasons = []
        for config in self._candidates():
            try:
                return config, await config.open()
            except SandboxError as error:
                reasons.append(f"{type(config).__name__.lower()}: {error}")
        raise SandboxError("no sandbox works here:\n" + "\n".join(dict.fromkeys(reasons)))
