"""Folders in memory: they go with the process that made them, also where that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agentgym.engines.memory_folder import memory_folder

MAKE = """
import os, signal, sys
from agentgym.engines.memory_folder import memory_folder
print(memory_folder("weights-", 1, sys.argv[1]), flush=True)
if sys.argv[2] == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


def test_what_the_killed_have_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    def start(end: str) -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", MAKE, str(tmp_path), end]
        made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert made.stdout is not None
        return made, Path(made.stdout.readline().strip())

    alive, used = start("lives")
    dead, left = start("dies")
    dead.communicate()
    assert left.is_dir()
    (left / "model").mkdir()
    (tmp_path / "weights-of-somebody").mkdir()
    mine = memory_folder("weights-", 1, str(tmp_path))
    other = memory_folder("weights-", 1, str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([used, mine, other, tmp_path / "weights-of-somebody"])
    alive.communicate()
    memory_folder("weights-", 1, str(tmp_path))
    assert not used.exists()


def test_a_folder_that_is_too_small_is_not_taken(tmp_path: Path) -> None:
    folder = memory_folder("agentgym-test-", 2**60)
    assert folder.parent != Path("/dev/shm")
    (folder / ".in_use").unlink()
    folder.rmdir()
