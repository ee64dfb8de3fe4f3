"""The walls around a world's process hold without the database's help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ATTEMPTS = {
    "read": "os.open('/etc/passwd', os.O_RDONLY)",
    "write": "open(sys.argv[1], 'w')",
    "list": "os.listdir('/')",
    "stat": "os.stat('/etc/passwd')",
    "delete": "os.unlink(sys.argv[2])",
    "rename": "os.rename(sys.argv[2], sys.argv[1])",
    "chdir": "os.chdir('/')",
    "socket": "socket.socket()",
    "unix socket": "socket.socket(socket.AF_UNIX)",
    "connect": "inherited.connect(('127.0.0.1', 9))",
    "program": "os.execv('/bin/true', ['true'])",
    "kill": "os.kill(os.getppid(), 0)",
    "trace": "kernel.check(kernel.libc.ptrace(16, os.getppid(), 0, 0), 'ptrace')",
    "namespaces": "kernel.unshare(kernel.CLONE_NEWUSER)",
    "more memory": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "another user": "os.setuid(0)",
    "a thread": "threading.Thread(target=print).start()",
    "its own pages": "mmap.mmap(-1, 1 << 30)",
}
PROGRAM = """
import json, mmap, os, resource, socket, sys, threading
from agentgym.databases.inside.confine import confine
from agentgym.sandboxes.inside import kernel
inherited = socket.socket()
confine(128 << 20)
outcomes = {}
for name, attempt in json.loads(sys.argv[3]).items():
    try:
        eval(attempt)
        outcomes[name] = "done"
    except Exception as error:
        outcomes[name] = type(error).__name__
outcomes["enough memory"] = len(bytearray(64 << 20))
if os.fork() == 0:
    outcomes["a fork"] = True
    print(json.dumps(outcomes), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What became of each attempt."""
    folder: Path = tmp_path_factory.mktemp("walls")
    kept, new = folder / "kept", folder / "new"
    kept.write_text("x")
    words = [sys.executable, "-c", PROGRAM, str(new), str(kept), json.dumps(ATTEMPTS)]
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": path}, check=True)
    assert [path.name for path in folder.iterdir()] == ["kept"]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[0])
    return found


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_confined_process_cannot(name: str, outcomes: dict[str, object]) -> None:
    assert outcomes[name] in ("PermissionError", "OSError", "RuntimeError", "ValueError")


def test_a_confined_process_can_still_work(outcomes: dict[str, object]) -> None:
    assert (outcomes["enough memory"], outcomes["a fork"]) == (64 << 20, True)
