"""Thousands of sessions, some of which do their worst, while the machinery itself is killed again and again."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentgym.sandboxes.http import Http
from agentgym.sandboxes.local import Local

from .leftovers import assert_nothing_new, kill_fork_server, orphans_are_ours, present
from .storm import KINDS, Storm, within

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("walls")]
SEED = 20


@pytest.fixture(autouse=True)
def own_orphans() -> Iterator[None]:
    with orphans_are_ours():
        yield


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, empty, here and in processes that are started."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def killer(owner: int) -> Callable[[], bool]:
    """Kills the fork server of a process's host, and in turns what is around it."""
    turns = itertools.cycle([False, True])
    return lambda: kill_fork_server(owner, next(turns))


def all_ended(storm: Storm, sessions: int) -> None:
    """As many sessions of each kind as there should be, and fork servers were killed."""
    assert storm.ended == {kind.name: sessions * kind.share // 100 for kind in KINDS}
    assert storm.kills == sessions // 100
    print(f"{storm.retried} attempts were lost with {storm.kills} fork servers and made again")


async def test_2000_sessions_end_as_they_should_and_leave_nothing(temporary: Path) -> None:
    before = present(temporary)
    host = await Local(preload=()).open()
    try:
        storm = Storm(host, killer(os.getpid()), 64)
        await storm.blow(2000, SEED)
        assert not host.sessions
    finally:
        await host.close()
    all_ended(storm, 2000)
    assert_nothing_new(before, present(temporary))


async def test_100_sessions_on_a_server_end_as_they_should_and_leave_nothing(temporary: Path) -> None:
    before = present(temporary)
    words = ("-m", "agentgym", "serve", "port=0", "sandbox.preload=[]")
    server = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        host = await Http((await server.stdout.readline()).decode().split()[-1]).open()
        storm = Storm(host, killer(server.pid), 16)
        await storm.blow(100, SEED)
        await host.close()
    finally:
        server.terminate()
        await within(server.communicate())
    assert server.returncode == 0
    all_ended(storm, 100)
    assert_nothing_new(before, present(temporary, server.pid))
