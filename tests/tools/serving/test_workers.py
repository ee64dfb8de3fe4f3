"""Many trajectories on several worker processes: state, order, load, death."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import ConfigError
from agentgym.tools.serving import router
from agentgym.tools.serving.server import running
from agentgym.tools.serving.settings import ServeTools
from tests.living import living

from .conftest import ODD, Serving, Trainer, until

LOST = "has no state here any more"
NOTED = "\n<result>\nnoted\n</result>\n"


def text(observation: str | dict[str, str]) -> str:
    return observation if isinstance(observation, str) else observation["obs"]


async def play_shuffled(trainer: Trainer, trajectories: int, rounds: int, batch: int, at_once: int) -> int:
    """Every trajectory acts once a round, in batches drawn anew each round, and must count its own actions. How
    many it counted right."""
    right = 0
    rng, gate = random.Random(0), asyncio.Semaphore(at_once)
    ids = [f"trajectory {i}" for i in range(trajectories)]

    async def send(part: list[str], turn: int) -> None:
        nonlocal right
        async with gate:
            response = await trainer.send(part, [f"<counter>{id}</counter>" for id in part])
        assert response.status_code == 200, response.text
        expected = [f"\n<result>\n{id} {turn}\n</result>\n" for id in part]
        assert response.json()["observations"] == expected
        right += len(part)

    for turn in range(1, rounds + 1):
        rng.shuffle(ids)
        await asyncio.gather(*(send(ids[i : i + batch], turn) for i in range(0, len(ids), batch)))
    assert await trainer.metric("trajectories") == trajectories
    assert await trainer.metric("workers_restarted") == 0
    return right


async def test_mixed_batches_keep_every_trajectorys_state(serving: Serving) -> None:
    trainer = await serving("Counter", workers=3)
    assert await play_shuffled(trainer, trajectories=100, rounds=4, batch=7, at_once=8) == 400


@pytest.mark.slow
async def test_a_thousand_trajectories_on_eight_workers(serving: Serving) -> None:
    trainer = await serving("Counter", workers=8)
    assert await play_shuffled(trainer, trajectories=1000, rounds=6, batch=33, at_once=32) == 6000


async def test_work_is_spread_over_processes_and_a_trajectory_stays_at_its_own(serving: Serving) -> None:
    trainer = await serving("pid", workers=3)
    ids = [str(i) for i in range(60)]
    first, second = [(await trainer.send(ids, ["<pid>x</pid>"] * 60)).json()["observations"] for _ in range(2)]
    assert first == second
    assert len(set(first)) == 3


async def test_actions_of_one_trajectory_run_in_order_and_others_pass_them(
    serving: Serving, tmp_path: Path
) -> None:
    trainer, go = await serving("Counter", "waits"), tmp_path / "go"
    waiting = asyncio.create_task(trainer.observe("a", f"<waits>{go}</waits> <counter>x</counter>"))
    await exists(Path(f"{go}.begun"))
    behind = asyncio.create_task(trainer.observe("a", "<counter>y</counter>"))
    await open_actions(trainer, 2)
    assert (await trainer.observe("b", "<counter>z</counter>"))[0] == "\n<result>\nz 1\n</result>\n"
    assert not waiting.done()
    assert not behind.done()
    go.touch()
    assert "done" in (await waiting)[0]
    assert (await behind)[0] == "\n<result>\ny 2\n</result>\n"


async def test_an_action_more_than_may_wait_is_sent_away_and_nothing_of_its_batch_is_done(
    serving: Serving, tmp_path: Path
) -> None:
    trainer, go = await serving("Counter", "waits", max_actions=1, max_waiting=2), tmp_path / "go"
    running = asyncio.create_task(trainer.observe("a", f"<waits>{go}</waits>"))
    await exists(Path(f"{go}.begun"))
    queued = asyncio.create_task(trainer.observe("b", "<counter>x</counter>"))
    await open_actions(trainer, 2)
    response = await trainer.send(["b", "c"], ["<counter>y</counter>"] * 2)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "2 actions run or wait" in response.json()["detail"]
    assert (await trainer.send(["d"] * 4, ["x"] * 4)).status_code == 413
    assert await trainer.metric("refusals_total") == 2
    go.touch()
    assert (await running)[0] == "\n<result>\ndone\n</result>\n"
    assert (await queued)[0] == "\n<result>\nx 1\n</result>\n"
    response = await trainer.send(["b", "c"], ["<counter>y</counter>"] * 2)
    assert response.json()["observations"] == ["\n<result>\ny 2\n</result>\n", "\n<result>\ny 1\n</result>\n"]


async def test_a_tool_that_hangs_or_breaks_ends_its_trajectory_alone(serving: Serving) -> None:
    trainer = await serving("Counter", "hangs", "breaks")
    await trainer.observe("other", "<counter>x</counter>")
    for tool, why in [("hangs", "gave no answer within 0.3 s"), ("breaks", "RuntimeError: x")]:
        await trainer.observe(tool, "<counter>x</counter>")
        observation, done, valid = await trainer.observe(tool, f"<{tool}>x</{tool}>")
        assert why in text(observation)
        assert (done, valid) == (True, False)
        observation, done, valid = await trainer.observe(tool, "<counter>x</counter>")
        assert LOST in text(observation)
        assert (done, valid) == (True, False)
    assert await trainer.observe("other", "<counter>x</counter>") == ("\n<result>\nx 2\n</result>\n", False, True)


async def test_an_action_that_waits_too_long_for_its_turn_is_given_up(serving: Serving, tmp_path: Path) -> None:
    trainer = await serving("Counter", "waits", timeout=0.5)
    both = await trainer.send(["a", "a"], [f"<waits>{tmp_path / 'never'}</waits>", "<counter>x</counter>"])
    assert "no answer within 0.5 s" in text(both.json()["observations"][0])
    assert (both.json()["dones"], both.json()["valids"]) == ([True, True], [False, False])


async def test_a_worker_that_hangs_is_replaced(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(router, "GRACE", 0.5)
    trainer = await serving("Counter", "blocks", "pid", workers=2, timeout=5.0)
    mine, other = await two_workers(trainer)
    await trainer.observe(other, "<counter>x</counter>")
    observation, done, valid = await trainer.observe(mine, f"<blocks>{tmp_path / 'it'}</blocks>")
    assert "the worker ended" in text(observation)
    assert (done, valid) == (True, False)
    await trainer.until_healthy()
    assert LOST in text((await trainer.observe(mine, "<counter>x</counter>"))[0])
    assert (await trainer.observe(other, "<counter>x</counter>"))[0] == "\n<result>\nx 2\n</result>\n"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
async def test_a_killed_worker_is_started_again_and_what_it_held_is_called_lost(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(router, "GRACE", 0.2)
    trainer = await serving("Counter", "waits", "pid", workers=2, timeout=5.0 if how == signal.SIGSTOP else 60.0)
    mine, other = await two_workers(trainer)
    os.kill(int((await trainer.observe(mine, "<pid>x</pid>"))[0].split()[1]), how)
    response = await trainer.send([mine, other], ["<counter>x</counter>"] * 2)
    if response.status_code == 503:
        assert response.headers["Retry-After"] == "1"
    else:
        assert "is lost" in text(response.json()["observations"][0])
    await trainer.until_healthy()
    for _ in range(2):
        observation, done, valid = await trainer.observe(mine, "<counter>x</counter>")
        assert LOST in text(observation)
        assert (done, valid) == (True, False)
    assert await trainer.observe(mine, "", finish=True) == ("", True, True)
    assert await trainer.observe(mine, "<counter>x</counter>") == ("\n<result>\nx 1\n</result>\n", False, True)
    assert await trainer.metric("workers_restarted") == 1


async def test_a_worker_that_dies_over_an_action_answers_the_others_of_its_batch(serving: Serving) -> None:
    trainer = await serving("Counter", "dies", "pid", workers=2)
    mine, other = await two_workers(trainer)
    body = (await trainer.send([other, mine], ["<counter>x</counter>", "<dies>x</dies>"])).json()
    assert body["observations"][0] == "\n<result>\nx 1\n</result>\n"
    assert "the worker ended over this action" in text(body["observations"][1])
    assert (body["dones"], body["valids"]) == ([False, True], [True, False])


async def test_an_idle_trajectory_is_given_up_and_called_lost(serving: Serving, tmp_path: Path) -> None:
    trainer = await serving("Marks", idle=0.2)
    assert await trainer.observe("a", f"<marks>{tmp_path / 'closed'}</marks>") == (NOTED, False, True)
    await exists(tmp_path / "closed")
    observation, done, valid = await trainer.observe("a", "<marks>x</marks>")
    assert "idle for more than 0.2 s" in text(observation)
    assert (done, valid) == (True, False)


async def test_tools_are_closed_by_the_last_step_by_finish_and_by_the_end(tmp_path: Path) -> None:
    async with running(ServeTools(tools=f"{ODD}:Marks", port=0, workers=1)) as url:
        trainer = Trainer(url)
        for id, flags in [("last", {"is_last_step": True}), ("finish", {}), ("end", {})]:
            assert (await trainer.observe(id, f"<marks>{tmp_path / id}</marks>", **flags))[0] == NOTED
        assert os.listdir(tmp_path) == ["last"]
        await trainer.observe("finish", "", finish=True)
        assert sorted(os.listdir(tmp_path)) == ["finish", "last"]
        await trainer.http.aclose()
    assert sorted(os.listdir(tmp_path)) == ["end", "finish", "last"]


async def test_tools_that_cannot_be_had_are_refused_at_the_start() -> None:
    for tools, words in [("pythn", "did you mean 'python'"), (f"{ODD}:Contr", "did you mean 'Counter'")]:
        with pytest.raises(ConfigError, match=words):
            async with running(ServeTools(tools=tools, port=0)):
                pass


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_no_process_is_left_when_the_server_is_told_to_stop(tmp_path: Path, how: signal.Signals) -> None:
    go, at_work = tmp_path / "go", "blocks" if how == signal.SIGKILL else "waits"
    program = (
        "import asyncio; from agentgym.tools.serving.server import serve;"
        "from agentgym.tools.serving.settings import ServeTools;"
        f"settings = ServeTools(tools='{ODD}:pid,{ODD}:{at_work}', port=0, workers=2);"
        "asyncio.run(serve(settings, lambda said: print(said, flush=True)))"
    )
    server = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    trainer = Trainer(server.stdout.readline().split()[-1])
    try:
        ids = [str(i) for i in range(20)]
        seen = (await trainer.send(ids, ["<pid>x</pid>"] * 20)).json()["observations"]
        workers = {int(observation.split()[1]) for observation in seen}
        assert len(workers) == 2
        waiting = asyncio.create_task(trainer.observe("a", f"<{at_work}>{go}</{at_work}>"))
        await exists(Path(f"{go}.begun"))
        server.send_signal(how)
        [answer] = await asyncio.gather(waiting, return_exceptions=True)
        if how != signal.SIGKILL:
            assert answer[1:] == (True, False)
        code = await asyncio.to_thread(server.wait, 60)
        assert code == (-how if how == signal.SIGKILL else 0)

        async def gone() -> bool:
            return not any(map(living, workers))

        await until(gone)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        await trainer.http.aclose()


async def two_workers(trainer: Trainer) -> tuple[str, str]:
    """Ids of trajectories that different workers have."""
    ids = [str(i) for i in range(20)]
    seen: list[Any] = (await trainer.send(ids, ["<pid>x</pid>"] * 20)).json()["observations"]
    return ids[0], next(id for id, where in zip(ids, seen, strict=True) if where != seen[0])


async def exists(file: Path) -> None:
    async def there() -> bool:
        return file.exists()  # noqa: ASYNC240

    await until(there)


async def open_actions(trainer: Trainer, count: int) -> None:
    """Wait until so many run or wait."""

    async def so_many() -> bool:
        return await trainer.metric("actions_open") == count

    await until(so_many)
