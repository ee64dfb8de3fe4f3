"""What a program sees, and what comes back from it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from agentgym.errors import SandboxError
from agentgym.sandboxes.local import Local


async def test_variables_imports_and_functions_stay(open_host):
    session = await (await open_host()).session()
    await session.run("import math\nx = 20\ndef double(n):\n    return 2 * n")
    result = await session.run("print(double(x) + math.floor(2.5))")
    assert (result.stdout, result.stderr, result.status) == ("42\n", "", "ok")
    assert session.calls == 2


async def test_the_value_of_a_last_expression_is_shown_as_in_a_notebook(open_host):
    session = await (await open_host()).session()
    assert (await session.run("x = 'a'\nx + 'b'")).stdout == "'ab'\n"
    assert (await session.run("None")).stdout == ""
    assert (await session.run("print(1)\nfor i in [2]: i")).stdout == "1\n"


async def test_an_error_shows_the_programs_own_frames_only_and_keeps_the_session(open_host):
    session = await (await open_host()).session()
    await session.run("import json\ndef f(text):\n    return json.loads(text)")
    result = await session.run("f('{')")
    assert result.status == "error"
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert [line for line in lines if "File" in line] == [
        '  File "<run 2>", line 1, in <module>',
        '  File "<run 1>", line 3, in f',
    ]
    assert "    return json.loads(text)" in lines
    assert (await session.run("f('[7]')")).stdout == "[7]\n"


@pytest.mark.parametrize(
    ("code", "last_line"),
    [
        ("x + 1", "NameError: name 'x' is not defined"),
        ("1 +", "SyntaxError: invalid syntax"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "Odd: <exception str() failed>"),
    ],
)
async def test_the_last_line_of_stderr_names_the_error(open_host, code, last_line):
    session = await (await open_host()).session()
    result = await session.run(code)
    assert result.status == "error"
    assert result.stderr.splitlines()[-1].removeprefix("__main__.") == last_line


async def test_two_sessions_share_neither_variables_nor_files(open_host):
    host = await open_host()
    one, two = await host.session(), await host.session()
    await one.run("x = 1\nopen('note', 'w').write('one')")
    assert (await two.run("'x' in globals()")).stdout == "False\n"
    assert (await two.run("import os; os.listdir('.')")).stdout == "[]\n"


async def test_output_of_subprocesses_counts_and_stays_in_order(open_host):
    session = await (await open_host()).session()
    result = await session.run("print('a')\nimport os\nos.system('echo b; echo c >&2')\nprint('d')")
    assert (result.stdout, result.stderr) == ("a\nb\nd\n", "c\n")


async def test_undecodable_output_and_lone_surrogates_do_no_harm(open_host):
    session = await (await open_host()).session()
    assert (await session.run("import os; _ = os.write(1, b'\\xff!')")).stdout == "\ufffd!"
    assert (await session.run("print('\\ud800')")).stdout == "\\ud800\n"


async def test_a_session_sees_no_variable_and_no_descriptor_of_its_host(open_host, monkeypatch):
    monkeypatch.setenv("API_KEY", "secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    host = await open_host()
    session = await host.session()
    await host.session()
    assert (await session.run("import os; 'API_KEY' in os.environ")).stdout == "False\n"
    listing = await session.run("sorted(int(fd) for fd in os.listdir('/proc/self/fd'))")
    assert listing.stdout == "[0, 1, 2, 3, 4]\n"  # null, streams, result channel, the listing itself
    os.close(read)
    os.close(write)


async def test_64_sessions_at_once_return_their_own_results(open_host):
    host = await open_host(timeout=60.0)

    async def square(n: int) -> str:
        session = await host.session()
        await session.run(f"n = {n}")
        result = await session.run("print(n * n)")
        await session.close()
        return result.stdout

    assert await asyncio.gather(*map(square, range(64))) == [f"{n * n}\n" for n in range(64)]


async def test_files_go_in_and_out(open_host):
    session = await (await open_host(file_limit=1000)).session()
    data = bytes(range(256))
    await session.write("folder/in.bin", data)
    assert (await session.run("open('folder/in.bin', 'rb').read() == bytes(range(256))")).stdout == "True\n"
    await session.run("open('out', 'w').write('x' * 1000)")
    assert await session.read("out") == b"x" * 1000
    assert session.calls == 2
    await session.run("open('big', 'w').write('x' * 1001); import os; os.mkfifo('fifo')")
    with pytest.raises(FileNotFoundError):
        await session.read("nowhere")
    for path, why in (("big", "File too large"), ("fifo", "Invalid argument"), ("folder", "Is a directory")):
        with pytest.raises(OSError, match=why):
            await session.read(path)
    with pytest.raises(OSError, match="1001 bytes"):
        await session.write("big", b"x" * 1001)
    await session.run("kept = 1")
    for attempt in (session.read("a\0b"), session.write("a\0b", b"")):
        with pytest.raises(OSError, match="Invalid argument"):
            await attempt
    for program in ("echo a\0b", "#" * 200_000):
        result = await session.run(program, language="bash")
        assert (result.status, "bash: " in result.stderr) == ("error", True)
    assert (await session.run("kept")).stdout == "1\n"


async def test_a_fork_has_the_same_state_and_neither_sees_the_others_writes(open_host):
    session = await (await open_host()).session()
    await session.write("file", b"before")
    await session.run("import random\nxs = [random.random()]")
    await session.run("1 / 0")
    twin = await session.fork()
    assert twin.calls == session.calls == 2
    probe = "random.random(), xs, open('file').read()"
    assert (await twin.run(probe)).stdout == (await session.run(probe)).stdout
    await twin.run("xs.append('twin')\nopen('file', 'w').write('twin')")
    await session.run("xs.append('parent')")
    assert (await session.run("xs[1:], open('file').read()")).stdout == "(['parent'], 'before')\n"
    assert (await twin.run("xs[1:], open('file').read()")).stdout == "(['twin'], 'twin')\n"


async def test_a_replay_that_goes_otherwise_is_an_error_of_the_sandbox(no_walls, tmp_path):
    host = await Local(allow_weak=True, preload=()).open()
    session = await host.session()
    marker = tmp_path / "seen"
    assert (await session.run(f"import os\nassert not os.path.exists({str(marker)!r})")).status == "ok"
    marker.touch()
    with pytest.raises(SandboxError, match="replay diverged"):
        await session.fork()
    await host.close()


async def test_use_after_close_is_an_error_and_closing_twice_is_not(open_host):
    host = await open_host()
    session = await host.session()
    await session.close()
    await session.close()
    with pytest.raises(SandboxError, match="session is closed"):
        await session.run("1")
    await host.close()
    await host.close()
    with pytest.raises(SandboxError, match="host is closed"):
        await host.session()


def test_the_module_of_the_config_imports_nothing_heavy():
    heavy = "[m for m in ('torch', 'numpy', 'gymnasium') if m in sys.modules]"
    code = f"import sys, agentgym.sandboxes.local; print({heavy})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
