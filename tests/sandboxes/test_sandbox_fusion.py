"""Sessions over a server that keeps none, against one that speaks SandboxFusion's API."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentgym.checks import sandbox as checks
from agentgym.checks.harness import run_checks
from agentgym.errors import SandboxError
from agentgym.sandboxes.fusion.session import FusionHost, FusionSession
from agentgym.sandboxes.sandbox_fusion import SandboxFusion

SERVER = Path(__file__).with_name("fusion_server.py")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
async def host(url: str) -> AsyncIterator[FusionHost]:
    host = await SandboxFusion(url).open()
    yield host
    await host.close()


@pytest.fixture
async def session(host: FusionHost) -> FusionSession:
    return await host.session()


async def test_it_keeps_what_a_sandbox_promises(url: str) -> None:
    promised = [check for check in checks.CHECKS if check is not checks.nothing_left_behind]
    results = await run_checks(SandboxFusion(url), promised, 60.0)
    assert [result for result in results if not result.ok] == []


async def test_what_earlier_programs_wrote_is_not_said_again(session: FusionSession) -> None:
    await session.run("import os, sys\nprint('one'); print('two', file=sys.stderr); _ = os.system('echo three')")
    result = await session.run("print('four'); print('five', file=sys.stderr)")
    assert (result.stdout, result.stderr) == ("four\n", "five\n")


async def test_earlier_output_takes_no_room_of_the_last_programs(session: FusionSession) -> None:
    for _ in range(3):
        await session.run("print('x' * 400_000)", output_limit=500_000)
    assert (await session.run("print('four')")).stdout == "four\n"


async def test_chance_and_the_order_of_sets_are_the_same_in_every_replay(session: FusionSession) -> None:
    await session.run("import random\nx, order = random.random(), list({'a', 'b', 'c', 'd', 'e', 'f'})")
    seen = {(await session.run("(x, order)")).stdout for _ in range(3)}
    assert len(seen) == 1


async def test_files_are_written_in_their_turn_and_nothing_else_is_in_the_folder(session: FusionSession) -> None:
    await session.write("a/b.txt", b"1")
    await session.run("text = open('a/b.txt').read()")
    await session.write("a/b.txt", b"\xff2")
    assert await session.read("a/b.txt") == b"\xff2"
    result = await session.run("import os\nprint(text, open('a/b.txt', 'rb').read(), os.listdir())")
    assert result.stdout == "1 b'\\xff2' ['a']\n"


async def test_a_file_that_is_not_there_or_cannot_be_written(session: FusionSession) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        await session.read("nothing")
    await session.run("import os; os.mkdir('folder')")
    with pytest.raises(IsADirectoryError):
        await session.write("folder", b"1")
    with pytest.raises(IsADirectoryError):
        await session.read("folder")
    assert (await session.run("os.path.isdir('folder')")).stdout == "True\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit('bye')", "exited"),
        ("import os; os._exit(0)", "exited"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("x = bytearray(8 << 30)", "oom"),
        ("while True: pass", "timeout"),
        ("import sys; print('x' * 70000, file=sys.stderr)", "output_limit"),
        ("import sys; print('x' * 3_000_000, file=sys.stderr)", "output_limit"),
    ],
)
async def test_the_status_says_how_it_ended_and_the_next_run_that_it_is_new(
    session: FusionSession, code: str, status: str
) -> None:
    await session.run("kept = 1")
    assert (await session.run(code, 0.5)).status == status
    after = await session.run("'kept' in globals()")
    assert (after.stdout, after.restarted) == ("False\n", True)
    assert not (await session.run("1")).restarted


async def test_an_error_shows_the_programs_own_frames_only(session: FusionSession) -> None:
    await session.run("def f(): return 1 / 0")
    result = await session.run("f()")
    assert result.status == "error"
    files = [line for line in result.stderr.splitlines() if "File" in line]
    assert files == ['  File "<run 2>", line 1, in <module>', '  File "<run 1>", line 1, in f']


async def test_a_forked_child_of_the_program_does_not_answer_for_it(session: FusionSession) -> None:
    result = await session.run("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint(pid > 0)")
    assert (result.status, sorted(result.stdout.split())) == ("ok", ["False", "True"])


async def test_a_shell_sees_the_sessions_files(session: FusionSession) -> None:
    await session.write("in.txt", b"seven\n")
    assert (await session.run("cat in.txt; echo two > out.txt", language="bash")).stdout == "seven\n"
    assert await session.read("out.txt") == b"two\n"
    assert (await session.run("exit 3", language="bash")).status == "error"


async def test_a_replay_that_goes_otherwise_is_told(session: FusionSession, tmp_path: Path) -> None:
    marker = tmp_path / "seen"
    await session.run(f"import os\nassert not os.path.exists({str(marker)!r})")
    marker.touch()
    with pytest.raises(SandboxError, match="replay diverged: step 1: 'error' where it was 'ok'"):
        await session.run("1")


@pytest.mark.parametrize("forged", ["{", '{"status": "diverged?"}', '{"status": "ok", "seconds": "much"}'])
async def test_a_forged_ending_is_the_programs_own_failure(session: FusionSession, forged: str) -> None:
    code = "import os, sys\nnonce = sys._getframe(4).f_locals['nonce']\n"
    result = await session.run(f"{code}_ = os.write(2, (nonce + {forged!r}).encode())\nos._exit(0)")
    assert result.status == "killed"


async def test_calls_of_one_session_take_turns(session: FusionSession) -> None:
    await session.run("x = []")
    await asyncio.gather(*(session.run(f"x.append({i})") for i in range(4)))
    assert (await session.run("sorted(x)")).stdout == "[0, 1, 2, 3]\n"
    assert session.calls == 6


async def test_a_server_of_another_kind_and_none_at_all(url: str) -> None:
    with pytest.raises(SandboxError, match="404"):
        await SandboxFusion(f"{url}/elsewhere").open()
    with pytest.raises(SandboxError, match="did not answer"):
        await SandboxFusion("http://127.0.0.1:9", patience=0.2).open()


async def test_protections_are_found_by_trying(url: str) -> None:
    found = {row.name: row.holds for row in await SandboxFusion(url).protections()}
    assert (found["deadline"], found["memory"], found["exact forks"]) == (True, True, False)
