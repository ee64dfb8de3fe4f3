from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import SandboxError
from agentgym.sandboxes.local import Local, LocalHost

ROOT = Path(__file__).parents[2]
TAG = "agentgym-sandbox-test"


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """The daemon's, by the SDK."""
    docker = pytest.importorskip("docker", reason="needs the docker SDK (the extra `docker`)")
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"needs a docker daemon: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(client: Any) -> Iterator[str]:
    """The image of this checkout."""
    base = os.environ.get("AGENTGYM_DOCKER_BASE")
    if not base:
        pytest.skip("needs a base image: set AGENTGYM_DOCKER_BASE to a Debian that has python3, nodejs and numpy")
    fields = {"dockerfile": "sandboxes/Dockerfile", "target": "agent", "buildargs": {"BASE": base}}
    client.images.build(path=str(ROOT), tag=TAG, rm=True, forcerm=True, **fields)
    yield TAG
    client.images.remove(TAG, force=True)


@functools.cache
def why_no_walls() -> str:
    async def attempt() -> str:
        try:
            await (await Local(preload=(), allow_weak=False).open()).close()
        except SandboxError as error:
            return str(error)
        return ""

    return asyncio.run(attempt())


@pytest.fixture
def walls() -> str:
    if why_no_walls():
        pytest.skip(why_no_walls())
    return "bubblewrap"


@pytest.fixture
def no_walls(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A machine without bubblewrap."""
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    return "none"


@pytest.fixture(params=["walls", "no_walls"])
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def open_host(mode: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens hosts with and without walls, and closes them."""
    hosts: list[LocalHost] = []

    async def opened(**fields: Any) -> LocalHost:
        hosts.append(await Local(**{"preload": (), "allow_weak": True, **fields}).open())
        assert hosts[-1].mode == mode
        return hosts[-1]

    yield opened
    for host in hosts:
        await host.close()
