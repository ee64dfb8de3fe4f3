"""Each check of a sandbox passes on the local one and fails on one with that very defect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from agentgym.check import check_sandbox
from agentgym.checks import sandbox as checks
from agentgym.checks.harness import Check, run_checks
from agentgym.config import build
from agentgym.sandbox import ExecResult


@dataclass(frozen=True)
class Defective:
    """The local sandbox behind sessions of a class with a defect."""

    session: type[Session]

    async def open(self) -> Host:
        return Host(await build("sandbox", "local").open(), self.session)


class Host:
    opened: list[Host] = []  # noqa: RUF012

    def __init__(self, real: Any, kind: type[Session]) -> None:
        self.real, self.kind, self.shared = real, kind, None
        self.opened.append(self)

    async def session(self) -> Any:
        if self.kind is SharedSession:
            self.shared = self.shared or await self.real.session()
            return self.kind(self.shared, self)
        return self.kind(await self.real.session(), self)

    async def close(self) -> None:
        if self.kind is not HostStays:
            await self.real.close()


class Session:
    def __init__(self, real: Any, host: Host) -> None:
        self.real, self.host, self.closed = real, host, False

    @property
    def calls(self) -> int:
        return int(self.real.calls)

    async def run(self, code: str, timeout: float | None = None) -> ExecResult:
        result: ExecResult = await self.real.run(code, timeout)
        return result

    async def write(self, path: str, data: bytes) -> None:
        await self.real.write(path, data)

    async def read(self, path: str) -> bytes:
        found: bytes = await self.real.read(path)
        return found

    async def fork(self) -> Any:
        return type(self)(await self.real.fork(), self.host)

    async def close(self) -> None:
        await self.real.close()


class Forgets(Session):
    async def run(self, code: str, timeout: float | None = None) -> ExecResult:
        await self.real.close()
        self.real = await self.host.real.session()
        return await super().run(code, timeout)


class SharedSession(Session):
    pass


class SilentRestart(Session):
    async def run(self, code: str, timeout: float | None = None) -> ExecResult:
        return replace(await super().run(code, timeout), restarted=False)


class NoLimit(Session):
    async def run(self, code: str, timeout: float | None = None) -> ExecResult:
        result = await super().run(code, timeout)
        return replace(result, status="ok") if result.status == "output_limit" else result


class ForksToItself(Session):
    async def fork(self) -> Any:
        return self


class ForksToNew(Session):
    async def fork(self) -> Any:
        return type(self)(await self.host.real.session(), self.host)


class ClosesOnce(Session):
    async def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True
        await super().close()


class HostStays(Session):
    async def close(self) -> None:
        pass


EXPECTED = [
    (Forgets, checks.state_persists, "live from run to run"),
    (SharedSession, checks.sessions_are_isolated, "variables are a session's own"),
    (SilentRestart, checks.timeout_kills, "does not say `restarted`"),
    (NoLimit, checks.output_is_limited, "not as ok"),
    (ForksToItself, checks.fork_is_isolated, "does not see its fork's writes"),
    (ForksToNew, checks.fork_is_isolated, "begins in its parent's state"),
    (ClosesOnce, checks.close_twice, "closed twice"),
    (HostStays, checks.nothing_left_behind, "which a program started"),
]


async def test_the_local_sandbox_passes() -> None:
    results = await check_sandbox(build("sandbox", "local"))
    assert [result for result in results if not result.ok] == []
    assert {result.name.replace(" ", "_") for result in results} == {check.__name__ for _, check, _ in EXPECTED}


@pytest.mark.parametrize(("defect", "check", "reason"), EXPECTED, ids=[cls.__name__ for cls, *_ in EXPECTED])
async def test_each_defect_is_found(defect: type[Session], check: Check, reason: str) -> None:
    [result] = await run_checks(Defective(defect), [check], 60.0)
    for host in Host.opened:
        await host.real.close()
    Host.opened.clear()
    assert not result.ok
    assert reason in result.detail
