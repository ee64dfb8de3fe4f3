"""What all servers share: who is let in, and how they end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from agentgym.errors import ConfigError
from agentgym.serving.address import Address
from agentgym.serving.loop import serving
from agentgym.serving.token_guard import TokenGuard

PAGE = {"Origin": "http://example.org"}


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        ("", {}, 200),
        ("", PAGE, 403),
        ("secret", {}, 401),
        ("secret", {"Authorization": "Bearer secret"}, 200),
        ("secret", {"Authorization": "Bearer secret", **PAGE}, 200),
    ],
)
async def test_web_pages_reach_a_server_only_with_its_token(
    token: str, headers: dict[str, str], status: int
) -> None:
    sent_away: list[Any] = []
    guarded = TokenGuard(PlainTextResponse("in"), token, lambda: sent_away.append(1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(guarded, listener) as url, httpx.AsyncClient() as client:
            answer = await client.get(url, headers=headers)
            assert (answer.status_code, len(sent_away)) == (status, int(status != 200))
            assert (await client.get(f"{url}/health", headers=PAGE)).status_code == 200


def test_the_variable_is_token_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTGYM_TOKEN", raising=False)
    everywhere = Address(host="0.0.0.0", port=0)
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        everywhere.listen()
    monkeypatch.setenv("AGENTGYM_TOKEN", "secret")
    everywhere.listen().close()


STARTS = """
import asyncio
from contextlib import asynccontextmanager
from agentgym.cli import _run
from agentgym.serving.loop import serve_until_told

@asynccontextmanager
async def slow():
    try:
        print("starting", flush=True)
        await asyncio.Event().wait()
        yield ""
    finally:
        print("cleaned up", flush=True)

_run(serve_until_told(slow(), print))
"""


def test_a_server_can_be_ended_while_it_starts() -> None:
    started = subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "starting\n"
    started.send_signal(signal.SIGTERM)
    assert started.communicate(timeout=60)[0] == "cleaned up\n"
    assert started.returncode == 128 + signal.SIGTERM
