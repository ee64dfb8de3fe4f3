"""The peers: their environment, and a process for each that measures itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from .measure import FEW, MANY, PROGRAMS, Program, Row, Sample, Skipped

VERSIONS = {"skyrl-gym": "0.4.0", "gem-llm": "0.1.0", "smolagents": "1.26.0"}
HERE = Path(__file__).parent
ANSWER = 1 << 28  # bytes at most


def make_environment(venv: Path) -> Path:
    """Its folder of commands. It is made on first use; raises Skipped when pip fails."""
    commands = venv.absolute() / "bin"
    if not (venv / "ready").exists():
        subprocess.run(["python3", "-m", "venv", str(venv)], check=True)
        pip = [str(commands / "python"), "-m", "pip", "install", "-q"]
        pip += ["-c", str(HERE.parents[1] / "constraints.txt"), "numpy", "sympy"]
        wanted = [f"{name}=={version}" for name, version in VERSIONS.items()]
        done = subprocess.run([*pip, *wanted], check=False, capture_output=True, text=True)
        if done.returncode:
            raise Skipped(f"pip: {done.stderr.strip()[-500:]}")
        (venv / "ready").touch()
    return commands


async def peer_rows(stack: AsyncExitStack, venv: Path) -> list[Row]:
    """Every peer with every program."""
    commands = await asyncio.to_thread(make_environment, venv)
    rows = []
    for name in VERSIONS:
        peer = await start(stack, name, commands)
        most = (MANY, MANY if name == "smolagents" else FEW)
        rows += [
            Row(f"{name}, {p.name}", partial(take, name, peer, p), p.name, lanes)
            for p, lanes in zip(PROGRAMS, most, strict=True)
        ]
    return rows


async def start(stack: AsyncExitStack, name: str, commands: Path) -> asyncio.subprocess.Process:
    """A peer's process, in an empty folder; it finds the `python` of its environment."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(commands / "python"),
        str(HERE / "peer.py"),
        name,
        stdin=pipe,
        stdout=pipe,
        limit=ANSWER,
        cwd=stack.enter_context(tempfile.TemporaryDirectory()),
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "OPENBLAS_NUM_THREADS": "1"},
    )
    stack.push_async_callback(process.wait)
    assert process.stdin is not None
    stack.callback(process.stdin.close)
    return process


async def take(
    name: str, peer: asyncio.subprocess.Process, program: Program, lanes: int, seconds: float
) -> Sample:
    """Ask a peer for a measurement."""
    assert peer.stdin is not None
    assert peer.stdout is not None
    asked = {"code": program.code, "output": program.output, "lanes": lanes, "seconds": seconds}
    peer.stdin.write(json.dumps(asked).encode() + b"\n")
    answer = await peer.stdout.readline()
    if not answer:
        raise SystemExit(f"{name} has ended")
    return Sample(**json.loads(answer))
