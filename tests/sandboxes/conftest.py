from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agentgym.sandboxes.local import Local, LocalHost

ROOT = Path(__file__).parents[2]
TAG = "agentgym-sandbox-test"


@pytest.fixture(scope="session")
def client() -> Any:
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
def image(client: Any) -> str:
    """The image of this checkout."""
    base = os.environ.get("AGENTGYM_DOCKER_BASE")
    if not base:
        pytest.skip("needs a base image: set AGENTGYM_DOCKER_BASE to a Debian that has python3, nodejs and numpy")
    fields = {"dockerfile": "sandboxes/Dockerfile", "target": "agent", "buildargs": {"BASE": base}}
    client.images.build(path=str(ROOT), tag=TAG, rm=True, forcerm=True, **fields)
    return TAG


@functools.cache
def why_no_bubblewrap() -> str:
    words = Local(isolation="bubblewrap").describe()
    return words if words.startswith("unusable") else ""


@pytest.fixture
def bubblewrap() -> str:
    if why_no_bubblewrap():
        pytest.skip(why_no_bubblewrap())
    return "bubblewrap"


@pytest.fixture(params=["bubblewrap", "none"])
def isolation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return request.getfixturevalue(name) if name == "bubblewrap" else name


@pytest.fixture
async def open_host(isolation: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens hosts under each isolation, and closes them."""
    hosts: list[LocalHost] = []

    async def opened(**fields: Any) -> LocalHost:
        hosts.append(await Local(isolation=isolation, **fields).open())  # type: ignore[arg-type]
        return hosts[-1]

    yield opened
    for host in hosts:
        await host.close()
