"""Fixtures that any test may ask for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell starts background jobs with SIGINT ignored, and children inherit that: tests that interrupt would wait.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def data() -> Path:
    """The folder with real data sets (`math/`, `logic/`, ...) that AGENTGYM_DATA names."""
    folder = os.environ.get("AGENTGYM_DATA")
    if not folder:
        pytest.skip("needs real data: set AGENTGYM_DATA to a folder that has math/")
    if not (Path(folder) / "math").is_dir():
        pytest.fail(f"AGENTGYM_DATA={folder} has no folder math/")
    return Path(folder)
