"""compose.yaml, brought up for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.free_port import free_port

ROOT = Path(__file__).parents[2]
PROJECT = "agentgym-compose-test"

pytestmark = pytest.mark.slow


def compose() -> list[str]:
    """The command, of either generation."""
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("needs docker compose or docker-compose")


@pytest.fixture
def port() -> int:
    """One that nobody listens on."""
    return free_port()


@pytest.fixture
def server(image: str, client: Any, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The service, once it is healthy, as the daemon describes it."""
    monkeypatch.setenv("AGENTGYM_TOKEN", "a-token-of-the-test-and-of-nobody-else")
    monkeypatch.setenv("AGENTGYM_PORT", str(port))
    monkeypatch.setenv("AGENTGYM_MEMORY", "1g")
    words = [*compose(), "-p", PROJECT]
    try:
        done = subprocess.run(
            [*words, "up", "--build", "-d"], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        found = client.containers.list(filters={"label": f"com.docker.compose.project={PROJECT}"})
        assert len(found) == 1
        deadline = time.monotonic() + 60
        while found[0].attrs["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, found[0].logs().decode()
            time.sleep(0.2)
            found[0].reload()
        yield found[0].attrs
    finally:
        subprocess.run(
            [*words, "down", "--volumes", "--timeout", "5"], cwd=ROOT, check=True, capture_output=True, timeout=120
        )


async def test_the_service_is_healthy_limited_and_serves_sessions(server, port):
    from agentgym.sandboxes.http import Http

    limits = server["HostConfig"]
    assert limits["PortBindings"] == {"8811/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    assert limits["Memory"] == limits["MemorySwap"] == 1 << 30
    assert limits["PidsLimit"] > 0
    assert limits["NanoCpus"] > 0
    assert limits["ReadonlyRootfs"]
    assert limits["CapDrop"] == ["ALL"]
    assert not limits["Binds"]
    assert limits["RestartPolicy"]["Name"] == "unless-stopped"
    [profile] = [text.partition("=")[2] for text in limits["SecurityOpt"] if text.startswith("seccomp=")]
    assert json.loads(profile) == json.loads((ROOT / "sandboxes" / "seccomp.json").read_text())
    host = await Http(url=f"http://127.0.0.1:{port}", token_env="AGENTGYM_TOKEN").open()
    try:
        one, other = await host.session(), await host.session()
        await one.run("kept = 1")
        assert (await one.run("kept")).stdout == "1\n"
        assert (await other.run("'kept' in globals()")).stdout == "False\n"
        assert os.environ["AGENTGYM_TOKEN"] not in (await one.run("import os; dict(os.environ)")).stdout
    finally:
        await host.close()
