"""The attacks succeed on a sandbox without protection, each of them, and fail on the local one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentgym.checks.attacks.attack import Attack
from agentgym.checks.attacks.canary import set_out
from agentgym.checks.attacks.suite import SUITE, attack_sandbox, attempt
from agentgym.checks.sandbox import sessions_are_isolated
from agentgym.cli import main
from agentgym.config import build

WEAK = f"{Path(__file__).with_name('weak.py')}:Weak"

EVERY = [(group, attack) for group, attacks in SUITE.items() for attack in attacks]

BETWEEN_PROCESSES = {"signal to another session", "signals", "files by way of /proc", "tracing"}
"""Attacks on another session's process, which there has to be."""

ONLY_ROOT = {
    "raw sockets",
    "devices",
    "kernel switches",
    "control groups",
    "other namespaces",
    "the kernel's own",
    "bpf and perf",
    "kernel memory and logs",
    "mounts",
    "pipe buffers",
}
"""Attacks that are no danger where the sandbox's user is not root."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, also those that a weak sandbox cannot delete."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    subprocess.run(["sh", "-c", 'chmod -R u+rwx "$0"; rm -rf "$0"', str(tmp_path)], check=True)


def test_there_are_attacks_of_every_class() -> None:
    assert len(SUITE) == 18
    assert len(EVERY) >= 120
    assert all(len(attacks) >= 2 for attacks in SUITE.values())
    assert len({(group, attack.name) for group, attack in EVERY}) == len(EVERY)
    assert all(attack.promise for _, attack in EVERY)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "attack"), EVERY, ids=[f"{group}: {attack.name}" for group, attack in EVERY])
async def test_it_succeeds_without_protection(group: str, attack: Attack, folder: Path) -> None:
    if os.getuid() and attack.name in ONLY_ROOT:
        pytest.skip("harmless for an ordinary user")
    spec = {"name": WEAK, "apart": attack.name in BETWEEN_PROCESSES}
    async with set_out() as canary:
        result = await attempt(group, attack, build("sandbox", spec), canary)
    assert not result.ok, result.detail
    assert "hangs" not in result.detail


@pytest.mark.slow
async def test_none_succeeds_on_the_local_sandbox() -> None:
    sandbox = build("sandbox", "local")
    absent = {row.name for row in await sandbox.protections() if not row.holds}
    results = await attack_sandbox(sandbox)
    needs = [attack.needs for _, attack in EVERY]
    broken = [result for result, wall in zip(results, needs, strict=True) if not result.ok and wall not in absent]
    assert broken == []


async def test_an_absent_protection_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    [attack] = [attack for attack in SUITE["network"] if attack.name == "tcp to the host"]
    [other] = [attack for attack in SUITE["forged results"] if attack.name == "os._exit(0)"]
    monkeypatch.setattr("agentgym.checks.attacks.suite.SUITE", {"some": (attack, other)})
    lacking, plain = await attack_sandbox(build("sandbox", WEAK))
    assert (lacking.group, lacking.ok, plain.ok) == ("some", False, False)
    assert lacking.detail.startswith("not held here (network: it has the host's)")
    assert "a service of the host hears it" in lacking.detail
    assert plain.detail.endswith("promised: it ends as exited")


def test_the_command_counts_by_class_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr("agentgym.checks.attacks.suite.SUITE", {"text": SUITE["text"][:1]})
    monkeypatch.setattr("agentgym.checks.sandbox.CHECKS", (sessions_are_isolated,))
    monkeypatch.setattr(sys, "argv", ["agentgym", "check", f"sandbox={WEAK}"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    heading = lines.index("text: 0 of 1 attacks withstood")
    assert lines[heading + 1].startswith(f"FAIL {SUITE['text'][0].name}: ")
    assert any(line.startswith("FAIL sessions are isolated: ") for line in lines[:heading])
