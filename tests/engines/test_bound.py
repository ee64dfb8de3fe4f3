"""What is bound to a process ends with it, also where it is killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentgym.engines.bound import Bound

STARTS = """
import os, signal, subprocess, sys
from pathlib import Path
from agentgym.engines.bound import Bound
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
helper = subprocess.Popen(["sleep", "1000"], start_new_session=True, **quiet)
bound = Bound([helper.pid], Path(sys.argv[2]))
print(helper.pid, bound._watch.pid, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "closes":
    bound.close()
    assert helper.wait() == -signal.SIGKILL
"""


@pytest.mark.parametrize(("end", "code"), [("killed", -signal.SIGKILL), ("closes", 0), ("forgets", 0)])
def test_it_ends_with_who_started_it(end: str, code: int, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    (weights / "v1").mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", STARTS, end, weights], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    for pid in done.stdout.split():
        try:
            process = os.pidfd_open(int(pid))
        except ProcessLookupError:
            continue
        assert select.select([process], [], [], 30)[0], "it goes on"
        os.close(process)
    assert (tmp_path.exists(), weights.exists()) == (True, False)


def test_who_has_ended_before_is_not_missed(tmp_path: Path) -> None:
    helper = subprocess.Popen(["sleep", "1000"])
    bound = Bound([helper.pid], tmp_path / "weights")
    helper.kill()
    helper.wait()
    bound.close()
    assert bound._watch.returncode == 0
