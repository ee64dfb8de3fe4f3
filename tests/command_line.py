"""The command line, as users have it."""

from __future__ import annotations

import subprocess
import sys


def agentgym(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """What a process with these variables did."""
    command = [sys.executable, "-m", "agentgym", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
