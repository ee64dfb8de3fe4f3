"""What is measured, each in a process of its own; the peers' in environments that are made on first use."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VERSIONS = {"gem-llm": "0.1.0", "skyrl-gym": "0.4.0", "verifiers": "0.3.1", "openenv-core": "0.3.0"}


class Skipped(Exception):
    """Cannot be measured here, and why."""


@dataclass(frozen=True)
class Row:
    """arguments: of `process.py`. package: the peer's, none for what runs in ours."""

    part: str
    name: str
    arguments: tuple[str, ...]
    package: str = ""


ROWS = (
    Row("bare", "bare loop", ("bare",)),
    *(
        Row("ours", f"tool_agent, {kind} function, {protocol}", ("ours", tool, protocol))
        for tool, kind in (("echo", "async"), ("plain", "plain"))
        for protocol in ("arpo", "hermes")
    ),
    Row("gem-llm", "gem-llm", ("gem_llm",), "gem-llm"),
    Row("skyrl-gym", "skyrl-gym", ("skyrl_gym",), "skyrl-gym"),
    Row("verifiers", "verifiers, ToolEnv", ("verifiers",), "verifiers"),
    Row("openenv", "openenv-core's server", ("openenv", "their_server"), "openenv-core"),
    Row("our-openenv", "our OpenEnv server", ("openenv", "our_server", sys.executable), "openenv-core"),
)
PARTS = tuple(dict.fromkeys(row.part for row in ROWS))


def python_of(package: str, folder: Path) -> str:
    """The interpreter of a peer's environment; raises Skipped when pip fails."""
    venv = folder.absolute() / package
    python = str(venv / "bin" / "python")
    if not (venv / "ready").exists():
        print(f"making {venv}", file=sys.stderr)
        subprocess.run(["python3", "-m", "venv", str(venv)], check=True)
        pip = [python, "-m", "pip", "install", "-q", f"{package}=={VERSIONS[package]}"]
        done = subprocess.run(pip, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Skipped(f"pip: {done.stderr.strip()[-500:]}")
        (venv / "ready").touch()
    return python


class Process:
    """A subject that measures itself."""

    def __init__(self, row: Row, process: asyncio.subprocess.Process) -> None:
        self.row, self._process = row, process

    async def ask(self, **asked: Any) -> dict[str, Any]:
        """Its answer; raises SystemExit when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.row.name} has ended")
        found: dict[str, Any] = json.loads(answer)
        return found


async def start(stack: AsyncExitStack, row: Row, folder: Path) -> Process:
    """The row's process. Raises Skipped."""
    python = await asyncio.to_thread(python_of, row.package, folder) if row.package else sys.executable
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        python,
        str(HERE / "process.py"),
        *row.arguments,
        stdin=pipe,
        stdout=pipe,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"},
    )
    stack.push_async_callback(process.wait)
    assert process.stdin is not None
    stack.callback(process.stdin.close)
    return Process(row, process)
