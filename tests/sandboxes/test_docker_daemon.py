"""A daemon that is restarted while sessions are open. It is one of the test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import SandboxError
from agentgym.sandboxes.docker import Docker

pytestmark = pytest.mark.slow
SESSIONS = 30


class OwnDaemon:
    """A dockerd with its own folders and socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/socket"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers. In a network of its own it cannot take the bridge of another."""
        import docker

        words = ["unshare", "--net", "dockerd", "--host", self.address, "--pidfile", f"{self.folder}/pid"]
        words += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        words += ["--bridge", "none", "--iptables=false", "--ip-forward=false"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            client = docker.DockerClient(self.address, timeout=60, version="1.41")
            try:
                client.ping()
                return
            except (docker.errors.DockerException, OSError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.skip(f"no second docker daemon starts here: {(self.folder / 'log').read_text()[-500:]}")
                time.sleep(0.2)
            finally:
                client.close()

    def stop(self) -> None:
        """End it, and its containers with it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


@pytest.fixture
def daemon(client: Any, image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnDaemon]:
    """A daemon of our own that has the image, and which sandboxes use."""
    import docker

    if os.getuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("needs root and dockerd, to start a daemon of its own")
    folder = Path(tempfile.mkdtemp(prefix="agentgym-dockerd-", dir="/tmp"))  # short, for the sockets in it
    daemon = OwnDaemon(folder)
    try:
        daemon.start()
        own = docker.DockerClient(daemon.address, timeout=120)
        own.images.load(client.images.get(image).save(named=True))
        own.close()
        monkeypatch.setenv("DOCKER_HOST", daemon.address)
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(folder)


async def test_sessions_are_lost_with_the_daemon_and_the_next_works_once_it_is_back(daemon, image):
    host = await Docker(image=image, pool=1).open()
    session, idle = await host.session(), await host.session()
    await session.run("kept = 1")
    daemon.stop()
    for lost in (session, idle):
        with pytest.raises(SandboxError, match=r"container|daemon"):
            await lost.run("kept")
    with pytest.raises(SandboxError, match="the docker daemon does not answer"):
        await host.session()
    daemon.start()
    again = await host.session()
    assert (await again.run("1 + 1")).stdout == "2\n"
    await host.close()
    assert host.daemon.client.containers.list(all=True) == []


async def test_30_sessions_at_work_are_lost_with_the_daemon_and_30_more_work_once_it_is_back(daemon, image):
    host = await Docker(image=image, pool=0).open()
    sessions = await asyncio.gather(*(host.session() for _ in range(SESSIONS)))
    await asyncio.gather(*(session.run("kept = 1") for session in sessions))
    working = [session.run("while True: pass", 120.0) for session in sessions[::2]]
    working += [session.run("import time; time.sleep(1000)", 120.0) for session in sessions[1::2]]
    running = [asyncio.ensure_future(work) for work in working]
    await asyncio.sleep(0)  # they begin
    await asyncio.to_thread(daemon.stop)
    async with asyncio.timeout(60.0):
        ended = await asyncio.gather(*running, return_exceptions=True)
    assert [type(error) for error in ended] == [SandboxError] * SESSIONS
    await asyncio.to_thread(daemon.start)

    async def works(number: int) -> str:
        session = await host.session()
        result = await session.run(f"print('kept' in globals(), {number} ** 2)")
        await session.close()
        return str(result.stdout)

    again = await asyncio.gather(*(works(number) for number in range(SESSIONS)))
    assert again == [f"False {number**2}\n" for number in range(SESSIONS)]
    await asyncio.gather(*(session.close() for session in sessions))
    assert host.daemon.client.containers.list(all=True) == []
    await host.close()
