"""What the host makes of replies that a container forged."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from agentgym.sandboxes.containers.gateway import frame
from agentgym.sandboxes.containers.gateway_client import SMALL, GatewayClient, Gone
from agentgym.sandboxes.containers.session import parse_result


async def answered_with(data: bytes, stream: int = 1, ends: bool = False) -> dict[str, object]:
    """Ask a container that answers the first request with `data`, and then ends or says no more."""
    ours, theirs = socket.socketpair()
    client = GatewayClient(*await asyncio.open_connection(sock=ours))
    try:
        question = asyncio.ensure_future(client.ask("run", 1000, {}))
        await asyncio.sleep(0)
        theirs.sendall(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data)
        if ends:
            theirs.close()
        async with asyncio.timeout(20):
            return await question
    finally:
        theirs.close()
        await client.close()


OK = {"id": 1, "ok": {"data": "x"}}
FORGERIES = {
    "huge": b"\xff\xff\xff\xff",
    "larger than the request allows": (SMALL + 1001).to_bytes(4, "big"),
    "not json": b"\0\0\0\x01[",
    "not utf-8": b"\0\0\0\x02\xff\xfe",
    "nested": (60_000).to_bytes(4, "big") + b"[" * 60_000,
    "a list": b"\0\0\0\x02[]",
    "no id": frame({"ok": {}}),
    "an id of another kind": frame({"id": [1], "ok": {}}),
    "a reply to nothing": frame({"id": 2, "ok": {}}),
    "neither ok nor error": frame({"id": 1}),
    "an ok of another kind": frame({"id": 1, "ok": "yes"}),
}


async def test_a_reply_is_taken():
    assert await answered_with(frame(OK)) == {"data": "x"}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_reply_ends_the_connection(name):
    with pytest.raises(Gone):
        await answered_with(FORGERIES[name])


async def test_a_reply_cut_short_is_none():
    with pytest.raises(Gone):
        await answered_with(frame(OK)[:-1], ends=True)


async def test_what_it_wrote_to_stderr_is_its_last_words():
    with pytest.raises(Gone, match=r"^out of luck$"):
        await answered_with(b"out of luck\n", stream=2, ends=True)


RESULT = {"stdout": "a", "stderr": "", "status": "ok", "seconds": 0.1, "restarted": False}


@pytest.mark.parametrize(
    "change",
    [
        {"stdout": "x" * 11},
        {"stderr": None},
        {"status": "great"},
        {"status": []},
        {"restarted": 1},
        {"stdout": ["a"]},
    ],
    ids=json.dumps,
)
def test_a_forged_result_is_none(change):
    assert parse_result(RESULT, 10, 0.1, False) is not None
    assert parse_result({**RESULT, **change}, 10, 0.1, False) is None


def test_a_result_can_always_be_written_down():
    result = parse_result({**RESULT, "stdout": "\ud800"}, 10, 0.1, False)
    assert result is not None
    assert result.stdout.encode() == b"?"
