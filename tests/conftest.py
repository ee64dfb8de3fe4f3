"""Fixtures that any test may ask for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agentgym.services import Services

# A shell starts background jobs with SIGINT ignored, and children inherit that: tests that interrupt would wait.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    """Of one test, which closes them."""
    async with Services() as services:
        yield services


@pytest.fixture
def data() -> Path:
    """The folder with real data sets (`math/`, `logic/`, ...) that AGENTGYM_DATA names."""
    folder = os.environ.get("AGENTGYM_DATA")
    if not folder:
        pytest.skip("needs real data: set AGENTGYM_DATA to a folder that has math/")
    if not (Path(folder) / "math").is_dir():
        pytest.fail(f"AGENTGYM_DATA={folder} has no folder math/")
    return Path(folder)


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Installs distributions from their sources, for real; returns the variables of a process that sees them."""

    def install(*sources: Path) -> dict[str, str]:
        target = tmp_path_factory.mktemp("installed")
        words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
        subprocess.run([sys.executable, "-m", "pip", *words, *map(str, sources)], check=True, timeout=120)
        path = os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}

    return install
