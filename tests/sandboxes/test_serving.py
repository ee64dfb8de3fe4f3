"""A sandbox server as a plain HTTP client meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from agentgym.errors import ConfigError
from agentgym.sandboxes.serving import app
from agentgym.sandboxes.serving.server import running
from agentgym.sandboxes.serving.settings import Serve

from .served import BARE, Raw, waits_for

ODD = str(Path(__file__).with_name("odd_sandboxes.py"))
Serving = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("no_walls")


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Starts servers, and gives a client of each."""
    async with AsyncExitStack() as stack:

        async def start(token: str = "", **settings: Any) -> Raw:
            url = await stack.enter_async_context(running(Serve(**{"sandbox": BARE, "port": 0, **settings})))
            raw = Raw(url, token)
            stack.push_async_callback(raw.http.aclose)
            return raw

        yield start


def refused(response: httpx.Response, status: int, text: str) -> None:
    """It is a refusal of this status which says `text`; where trying again helps, when."""
    assert response.status_code == status, response.text
    assert text in response.json()["detail"]
    assert ("retry-after" in response.headers) == (status in (429, 503))


async def test_a_session_more_than_allowed_is_sent_away_until_one_closes(serving: Serving) -> None:
    raw = await serving(max_sessions=1)
    session = await raw.open()
    response = await raw.send("POST", "/v1/sessions", uuid4().hex, json={"lease": 9})
    refused(response, 429, "1 sessions are open, the most this server allows")
    refused(
        await raw.send("POST", f"/v1/sessions/{session}/fork", uuid4().hex, json={"lease": 9}), 429, "1 sessions"
    )
    assert (await raw.send("DELETE", f"/v1/sessions/{session}")).status_code == 204
    await raw.open()


async def test_a_call_more_than_may_wait_is_sent_away(serving: Serving, tmp_path: Path) -> None:
    raw = await serving(max_calls=1, max_waiting=1)
    session = await raw.open()
    go, id = tmp_path / "go", uuid4().hex
    first = asyncio.create_task(raw.run(session, waits_for(go)))
    await raw.until("running", 1)
    second = asyncio.create_task(raw.run(session, "print(2)"))
    await raw.until("waiting", 1)
    refused(await raw.run(session, "print(3)", id), 429, "1 calls run and 1 wait")
    assert await raw.metric("refusals_total") == 1
    go.touch()
    assert (await first).json()["status"] == "ok"
    assert (await second).json()["stdout"] == "2\n"
    assert (await raw.run(session, "print(3)", id)).json()["stdout"] == "3\n"


async def test_nobody_waits_longer_than_allowed(serving: Serving, tmp_path: Path) -> None:
    raw = await serving(max_calls=1, max_wait=0.05)
    session = await raw.open()
    first = asyncio.create_task(raw.run(session, waits_for(tmp_path / "go")))
    await raw.until("running", 1)
    refused(await raw.run(session, "1"), 429, "no slot became free within 0.05 s")
    (tmp_path / "go").touch()
    assert (await first).status_code == 200


async def test_a_request_sent_twice_at_once_and_once_more_later_runs_once(
    serving: Serving, tmp_path: Path
) -> None:
    raw, go, id = await serving(), tmp_path / "go", uuid4().hex
    session = await raw.open()
    await raw.run(session, "n = 0")
    code = f"n += 1\n{waits_for(go)}\nprint(n)"
    twice = [asyncio.create_task(raw.run(session, code, id)) for _ in range(2)]
    await raw.until("running", 1)
    go.touch()
    answers = [response.json() for response in await asyncio.gather(*twice)]
    answers.append((await raw.run(session, code, id)).json())
    assert answers[0]["stdout"] == "1\n"
    assert answers == answers[:1] * 3
    assert (await raw.run(session, "print(n)")).json()["stdout"] == "1\n"


async def test_a_client_that_hangs_up_can_ask_again_for_what_came_of_it(serving: Serving, tmp_path: Path) -> None:
    raw, id = await serving(), uuid4().hex
    session = await raw.open()
    call = asyncio.create_task(raw.run(session, f"n = 1\n{waits_for(tmp_path / 'go')}\nprint('done')", id))
    await raw.until("running", 1)
    call.cancel()
    await asyncio.wait({call})
    (tmp_path / "go").touch()
    assert (await raw.run(session, "never run: the id is known", id)).json()["stdout"] == "done\n"


async def test_sessions_and_forks_asked_for_twice_are_made_once(serving: Serving) -> None:
    raw, id, twin = await serving(), uuid4().hex, uuid4().hex
    for _ in range(2):
        await raw.send("POST", "/v1/sessions", id, json={"lease": 60})
    await raw.run(id, "x = 1")
    for _ in range(2):
        await raw.send("POST", f"/v1/sessions/{id}/fork", twin, json={"lease": 60})
        await raw.run(id, "x = 2")
    assert (await raw.run(twin, "print(x)")).json()["stdout"] == "1\n"
    assert await raw.metric("sessions") == 2


async def test_results_that_are_not_kept_any_more_are_not_made_anew(serving: Serving) -> None:
    raw, id = await serving(), uuid4().hex
    session = await raw.open()
    await raw.run(session, "n = globals().get('n', 0) + 1", id)
    for _ in range(20):
        await raw.run(session, "1")
    refused(await raw.run(session, "n = globals().get('n', 0) + 1", id), 404, "is not kept any more")
    assert (await raw.run(session, "print(n)")).json()["stdout"] == "1\n"


async def test_a_call_cancelled_before_it_came_is_not_begun(serving: Serving) -> None:
    raw, id = await serving(), uuid4().hex
    session = await raw.open()
    await raw.send("DELETE", f"/v1/sessions/{session}/calls/{id}")
    refused(await raw.run(session, "n = 1", id), 404, "was cancelled")
    assert (await raw.run(session, "print('n' in globals())")).json()["stdout"] == "False\n"


async def test_a_session_whose_client_is_silent_is_closed_and_counted(serving: Serving, tmp_path: Path) -> None:
    raw = await serving()
    silent, renewed = await raw.open(lease=3.0), await raw.open(lease=3.0)
    running = asyncio.create_task(raw.run(silent, waits_for(tmp_path / "never")))
    async with asyncio.timeout(30.0):
        while await raw.metric("expired_total") < 1:
            assert (await raw.send("POST", "/v1/renew", json={"sessions": [renewed]})).status_code == 204
    refused(await running, 404, "ended with its session")
    refused(await raw.run(silent, "1"), 404, "its lease ran out")
    assert (await raw.run(renewed, "print(1)")).json()["stdout"] == "1\n"
    await raw.until("sessions", 1)


async def test_without_the_token_there_is_nothing_but_health(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    for shown in ("", "wrong", "secre"):
        raw = await serving(shown, token_file=str(tmp_path / "token"))
        assert (await raw.send("GET", "/health")).json() == {"status": "ok"}
        for path in ("/metrics", "/v1", "/v1/sessions", "/nothing"):
            refused(await raw.send("GET", path), 401, "wants its token")
    raw = await serving("secret", token_file=str(tmp_path / "token"))
    await raw.open()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_no_token_no_other_machine(host: str) -> None:
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        async with running(Serve(host=host, port=0)):
            pass


WRONG = [
    ({"content": b"{"}, 400, "not what was expected"),
    ({"content": b"[" * 100_000}, 400, "not what was expected"),
    ({"json": {"code": 1}}, 400, "Expected `str`, got `int`"),
    ({"json": {"code": "1", "language": "cobol"}}, 400, "Invalid enum value 'cobol'"),
    ({"json": {"code": "1", "timeout": 1e9}}, 400, "timeout: 1e+09 s; this server allows above 0 and up to 600 s"),
    ({"json": {"code": "1", "timeout": -1}}, 400, "timeout: -1 s"),
    ({"json": {"code": "x" * 2000}}, 413, "1000 bytes"),
]


@pytest.mark.parametrize(("content", "status", "text"), WRONG)
async def test_wrong_requests_are_told_what_is_wrong(
    serving: Serving, content: dict[str, Any], status: int, text: str
) -> None:
    raw = await serving(max_body=1000)
    session = await raw.open()
    if content.get("content") == b"[" * 100_000:
        raw = await serving()
        session = await raw.open()
    refused(await raw.send("POST", f"/v1/sessions/{session}/run", uuid4().hex, **content), status, text)
    refused(await raw.send("POST", f"/v1/sessions/{session}/run", json={"code": "1"}), 400, "Idempotency-Key")
    assert (await raw.run(session, "print(1)")).json()["stdout"] == "1\n"


async def test_a_lease_beyond_the_servers_is_refused(serving: Serving) -> None:
    raw = await serving(max_lease=10)
    refused(await raw.send("POST", "/v1/sessions", uuid4().hex, json={"lease": 11}), 400, "up to 10 s")
    assert await raw.metric("sessions") == 0


async def test_a_sandbox_that_has_no_sessions_is_unavailable_for_now(serving: Serving, tmp_path: Path) -> None:
    broken, id = tmp_path / "broken", uuid4().hex
    raw = await serving(sandbox={"name": f"{ODD}:Odd", "broken": str(broken)})
    broken.touch()
    refused(await raw.send("POST", "/v1/sessions", id, json={"lease": 9}), 503, "the daemon is down")
    assert await raw.metric("sessions") == 0
    broken.unlink()
    assert (await raw.send("POST", "/v1/sessions", id, json={"lease": 9})).status_code == 200


async def test_a_sandbox_that_never_answers_meets_the_deadline(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "GRACE", 0.1)
    raw = await serving(sandbox=f"{ODD}:Hangs")
    session = await raw.open()
    answer = await raw.run(session, "1", timeout=0.1)
    assert answer.status_code == 500
    refused(answer, 500, "no answer from the sandbox within 0.2 s")


async def test_what_happened_is_counted(serving: Serving) -> None:
    raw = await serving()
    session = await raw.open()
    await raw.run(session, "1 / 0")
    text = (await raw.send("GET", "/metrics")).text
    assert 'agentgym_sandbox_calls_total{call="run",status="error"} 1.0' in text
    assert 'agentgym_sandbox_seconds_count{call="open"} 1.0' in text
    assert "agentgym_sandbox_waiting 0.0" in text


async def test_stopping_answers_calls_in_flight_and_leaves_no_session(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        raw = Raw(await stack.enter_async_context(running(Serve(sandbox=BARE, port=0))))
        session = await raw.open()
        call = asyncio.create_task(raw.run(session, waits_for(tmp_path / "never")))
        await raw.until("running", 1)
    refused(await call, 404, "ended with its session")
    with pytest.raises(httpx.ConnectError):
        await raw.send("GET", "/health")
    await raw.http.aclose()


async def test_any_text_goes_through(serving: Serving) -> None:
    raw = await serving()
    session = await raw.open()
    body = json.dumps({"code": "print(ascii('\ud800\0é'))"})
    answer = await raw.send("POST", f"/v1/sessions/{session}/run", uuid4().hex, content=body)
    assert "surrogates not allowed" in answer.json()["stderr"]
