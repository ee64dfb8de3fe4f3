"""The search service of compose.yaml, brought up for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.retrievers.http import Http
from tests.free_port import free_port

from .conftest import until

ROOT = Path(__file__).parents[2]
PROJECT = "agentgym-search-test"
NEEDED = "import bm25s, click, httptools, msgspec, prometheus_client, regex, starlette, Stemmer, uvicorn"
TOKEN = "a-token-of-the-test-and-of-nobody-else"

pytestmark = pytest.mark.slow


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=300, **options)


def inspect(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("docker", "inspect", name).stdout)[0]
    return found


@pytest.fixture
def compose() -> list[str]:
    """The command, of either generation."""
    base = os.environ.get("AGENTGYM_DOCKER_BASE")
    if not base:
        pytest.skip("needs a base image: set AGENTGYM_DOCKER_BASE to a Debian that has what a search server needs")
    if not shutil.which("docker") or run("docker", "info").returncode:
        pytest.skip("needs a docker daemon")
    if run("docker", "run", "--rm", base, "python3", "-c", NEEDED).returncode:
        pytest.skip(f"AGENTGYM_DOCKER_BASE={base} lacks what a search server needs")
    if not run("docker", "compose", "version").returncode:
        return ["docker", "compose", "-p", PROJECT, "--profile", "search"]
    if not shutil.which("docker-compose"):
        pytest.skip("needs docker compose or docker-compose")
    return ["docker-compose", "-p", PROJECT, "--profile", "search"]


@pytest.fixture
def server(compose: list[str], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The service as the daemon describes it, and how to use it."""
    port = free_port()
    corpus = tmp_path / "corpus"
    corpus.mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    (corpus / "animals.jsonl").write_text(
        "".join(
            json.dumps({"id": name, "title": name, "text": f"The {name} says {sound}."}) + "\n"
            for name, sound in (("cow", "moo"), ("cat", "meow"), ("dog", "woof"))
        )
    )
    variables = {
        "AGENTGYM_TOKEN": TOKEN,
        "AGENTGYM_CORPUS_FOLDER": str(corpus),
        "AGENTGYM_CORPUS": "animals.jsonl",
        "AGENTGYM_SEARCH_PORT": str(port),
        "AGENTGYM_SEARCH_MEMORY": "1g",
    }
    at = {"cwd": ROOT, "env": {**os.environ, **variables}}
    try:
        done = run(*compose, "up", "--build", "-d", "search", **at)
        assert done.returncode == 0, done.stderr
        [name] = run(
            "docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}"
        ).stdout.split()
        yield {
            "name": name,
            "url": f"http://127.0.0.1:{port}",
            **inspect(name),
        }
    finally:
        run(*compose, "down", "--volumes", "--timeout", "5", check=True, **at)


async def test_the_service_is_limited_and_searches_the_corpus(server: dict[str, Any]) -> None:
    limits = server["HostConfig"]
    assert {bound["HostIp"] for bounds in limits["PortBindings"].values() for bound in bounds} == {"127.0.0.1"}
    assert limits["Memory"] == limits["MemorySwap"] == 1 << 30
    assert limits["PidsLimit"] > 0
    assert limits["NanoCpus"] > 0
    assert limits["ReadonlyRootfs"]
    assert limits["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in limits["SecurityOpt"]
    assert limits["RestartPolicy"]["Name"] == "unless-stopped"
    assert {mount["Destination"]: mount["RW"] for mount in server["Mounts"]} == {"/corpus": False, "/index": True}
    retriever = await Http(server["url"], token=TOKEN).open()
    try:
        [[(passage, _)]] = await retriever.search(["which animal says meow?"], 1)
        assert passage.id == "cat"
        run("docker", "kill", server["name"], check=True)
        run("docker", "start", server["name"], check=True)
        [[(passage, _)]] = await retriever.search(["and which one woof?"], 1)
        assert passage.id == "dog"
    finally:
        await retriever.close()
    await until(lambda: inspect(server["name"])["State"]["Health"]["Status"] == "healthy")
    logs = run("docker", "logs", server["name"])
    assert (logs.stdout + logs.stderr).count("serving at") == 2
