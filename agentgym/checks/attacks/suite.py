"""All attacks by class, and running them against a sandbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from agentgym.checks.attacks import (
    cpu,
    daemons,
    descriptors,
    disk,
    files,
    forging,
    forks,
    interpreter,
    kernel,
    leaks,
    memory,
    network,
    output,
    privileges,
    processes,
    signals,
    text,
    timebombs,
)
from agentgym.checks.attacks.attack import Attack, carry_out
from agentgym.checks.attacks.canary import Canary, set_out
from agentgym.checks.harness import CheckResult, run_check
from agentgym.sandbox import SandboxConfig

AT_ONCE = 4
DEADLINE = 60.0
"""Seconds for an attack."""

SUITE: dict[str, tuple[Attack, ...]] = {
    "processors": cpu.ATTACKS,
    "memory": memory.ATTACKS,
    "processes and threads": processes.ATTACKS,
    "descriptors": descriptors.ATTACKS,
    "disk": disk.ATTACKS,
    "output": output.ATTACKS,
    "network": network.ATTACKS,
    "files and environment": files.ATTACKS,
    "/proc and /sys": kernel.ATTACKS,
    "signals and tracing": signals.ATTACKS,
    "privileges and system calls": privileges.ATTACKS,
    "interpreter": interpreter.ATTACKS,
    "other sessions": leaks.ATTACKS,
    "forged results": forging.ATTACKS,
    "text": text.ATTACKS,
    "daemons": daemons.ATTACKS,
    "time bombs": timebombs.ATTACKS,
    "forks": forks.ATTACKS,
}


async def attack_sandbox(config: SandboxConfig) -> list[CheckResult]:
    """Every attack on `config`, in the suite's order.

    An attack that succeeds because the sandbox lacks a protection, and says so, is told with its reason; it has
    succeeded all the same.
    """
    absent = {row.name: row.detail for row in await config.protections() if not row.holds}
    slots = asyncio.Semaphore(AT_ONCE)
    async with set_out() as canary:

        async def run(group: str, attack: Attack) -> CheckResult:
            async with slots:
                return await attempt(group, attack, config, canary)

        every = [(group, attack) for group, attacks in SUITE.items() for attack in attacks]
        beside = {pair: asyncio.ensure_future(run(*pair)) for pair in every if not pair[1].alone}
        try:
            await asyncio.gather(*beside.values())
        finally:
            for task in beside.values():
                task.cancel()
        alone = {pair: await run(*pair) for pair in every if pair[1].alone}
    found = {pair: task.result() for pair, task in beside.items()} | alone
    return [explained(found[pair], pair[1], absent) for pair in every]


async def attempt(group: str, attack: Attack, config: SandboxConfig, canary: Canary) -> CheckResult:
    """One attack on `config`."""
    return await run_check(attack.name, carry_out(attack, config, canary), DEADLINE, group)


def explained(result: CheckResult, attack: Attack, absent: dict[str, str]) -> CheckResult:
    """`result`, and where it failed the promise, or the reason why the sandbox cannot keep it."""
    if result.ok:
        return result
    if attack.needs in absent:
        reason = f"not held here ({attack.needs}: {absent[attack.needs]}); {result.detail}"
        return replace(result, detail=reason)
    return replace(result, detail=f"{result.detail}; promised: {attack.promise}")
