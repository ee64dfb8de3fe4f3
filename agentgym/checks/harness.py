"""Runs checks one after the other: each has a deadline, and a failure is a result with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

GRACE = 2.0
"""Seconds that a check which missed its deadline has to clean up."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """name: the promise. detail: what was seen; the reason where it does not hold. group: what it belongs to.
    skipped: it is not given, and `detail` says why.
    """

    name: str
    ok: bool
    detail: str
    group: str = ""
    skipped: bool = False


class Skipped(Exception):
    """A promise is not given; the text says why."""


class Broken(Exception):
    """A promise does not hold; the text says which way."""


Check = Callable[[Any], Awaitable[str]]
"""Given the config: what was seen. Raises Broken, or whatever the component raises."""


def expect(holds: bool, reason: str) -> None:
    """Raise Broken with `reason` unless it holds."""
    if not holds:
        raise Broken(reason)


async def run_checks(config: Any, checks: Sequence[Check], deadline: float) -> list[CheckResult]:
    """One result a check, in order. deadline: seconds each."""
    return [await run_check(_name(check), check(config), deadline) for check in checks]


def _name(check: Check) -> str:
    return getattr(check, "__name__", str(check)).replace("_", " ")


async def run_check(name: str, check: Awaitable[str], deadline: float, group: str = "") -> CheckResult:
    """The result of one check. deadline: seconds."""
    running = asyncio.ensure_future(check)
    try:
        await asyncio.wait({running}, timeout=deadline)
        if not running.done():
            running.cancel()
            await asyncio.wait({running}, timeout=GRACE)
            return CheckResult(name, False, f"not done after {deadline:g} s: it hangs", group)
    except asyncio.CancelledError:
        running.cancel()
        raise
    error = running.exception()
    if error is None:
        return CheckResult(name, True, running.result(), group)
    if isinstance(error, Skipped):
        return CheckResult(name, True, str(error), group, skipped=True)
    if isinstance(error, Broken):
        return CheckResult(name, False, str(error), group)
    return CheckResult(name, False, f"{type(error).__name__}: {error}", group)
