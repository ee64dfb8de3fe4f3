"""The sandbox `auto` takes the strongest that works, says which, and never a weak one unasked."""

from __future__ import annotations

import gc

import pytest

from agentgym.checks.leftovers import no_leftovers
from agentgym.errors import SandboxError
from agentgym.sandboxes.auto import Auto
from agentgym.sandboxes.docker import Docker

NO_DAEMON = "unix:///nowhere/docker.sock"


@pytest.fixture
def no_docker(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", NO_DAEMON)


@pytest.fixture
def unasked(monkeypatch):
    monkeypatch.delenv("AGENTGYM_ALLOW_WEAK", raising=False)


async def test_with_walls_it_is_local_behind_them(walls, unasked):
    host = await Auto().open()
    try:
        assert host.description.startswith("local, in namespaces")
        assert (await (await host.session()).run("print(6 * 7)")).stdout == "42\n"
    finally:
        await host.close()
    assert all(row.holds for row in await Auto().protections() if row.name in ("processes", "network", "files"))


async def test_without_walls_and_docker_it_refuses_and_says_why_for_each(no_walls, no_docker, unasked):
    with pytest.raises(SandboxError, match="no sandbox works here") as told:
        await Auto().open()
    assert "bwrap" in str(told.value)
    assert "docker" in str(told.value)
    assert "allow_weak=true" in str(told.value)


@pytest.mark.parametrize("asked", ["field", "variable"])
async def test_a_weak_one_must_be_asked_for_and_says_so(no_walls, no_docker, unasked, monkeypatch, asked):
    if asked == "variable":
        monkeypatch.setenv("AGENTGYM_ALLOW_WEAK", "1")
    host = await (Auto() if asked == "variable" else Auto(allow_weak=True)).open()
    assert "WITHOUT walls" in host.description
    await host.close()


async def test_asking_for_a_daemon_that_is_not_there_leaves_no_socket(no_docker):
    gc.disable()  # it would tidy up some time later
    try:
        async with no_leftovers():
            with pytest.raises(SandboxError, match="does not answer"):
                await Docker().open()
    finally:
        gc.enable()
