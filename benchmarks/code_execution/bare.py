"""What there is without a sandbox: a worker behind a pipe, a new interpreter, a container by docker's command."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from .measure import FEW, MANY, PROGRAMS, Operation, Program, Row, Skipped, expect, row

RUN = ("docker", "run", "--rm", "--network", "none")
WORKER = str(Path(__file__).with_name("pipe_worker.py"))


def bare_rows() -> list[Row]:
    """Workers and interpreters."""
    return [
        *(row(f"pipe worker, {p.name}", partial(piping, p), p.name) for p in PROGRAMS),
        *(
            row(f"python -c, {p.name}", partial(commanding, [sys.executable], p), p.name, most)
            for p, most in zip(PROGRAMS, (MANY, FEW), strict=True)
        ),
    ]


async def container_rows(stack: AsyncExitStack, image: str) -> list[Row]:
    """`docker run`, and `docker exec` in one container. Raises Skipped without a daemon or the image."""
    if shutil.which("docker") is None:
        raise Skipped("there is no command `docker`")
    try:
        await output("docker", "image", "inspect", image)
        idle = await output(*RUN, "-d", "--entrypoint", "sleep", image, "inf")
    except RuntimeError as error:
        raise Skipped(str(error)) from error
    stack.push_async_callback(output, "docker", "kill", idle.strip())
    new = [*RUN, "--entrypoint", "python3", image]
    live = ["docker", "exec", idle.strip(), "python3"]
    small = PROGRAMS[0]
    return [
        row(f"docker {name}, {small.name}", partial(commanding, words, small), small.name)
        for name, words in (("run", new), ("exec", live))
    ]


@asynccontextmanager
async def commanding(words: list[str], program: Program, lanes: int) -> AsyncIterator[list[Operation]]:
    """Runs a program by a Python that these words start."""

    async def operation() -> float:
        started = time.perf_counter()
        printed = await output(*words, "-c", program.code)
        seconds = time.perf_counter() - started
        expect(program, printed)
        return seconds

    yield [operation] * lanes


async def output(*words: str) -> str:
    """What a command prints. Raises RuntimeError when it fails."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=pipe)
    printed, complaint = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{words[0]}: {complaint.decode(errors='replace').strip()[-500:]}")
    return printed.decode()


@asynccontextmanager
async def piping(program: Program, lanes: int) -> AsyncIterator[list[Operation]]:
    """Calls of one bare worker a lane, after one that does not count."""
    pairs = [socket.socketpair() for _ in range(lanes)]
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    descriptors = [end.fileno() for end in theirs]
    workers = await asyncio.create_subprocess_exec(
        sys.executable,
        WORKER,
        *map(str, descriptors),
        pass_fds=descriptors,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    for end in theirs:
        end.close()
    for end in ours:
        end.setblocking(False)
    await asyncio.gather(*(ask(end, program) for end in ours))
    yield [partial(ask, end, program) for end in ours]
    for end in ours:
        end.close()
    await workers.wait()


async def ask(end: socket.socket, program: Program) -> float:
    """One line to a worker, and one back."""
    loop = asyncio.get_running_loop()
    line = json.dumps(program.code).encode() + b"\n"
    started = time.perf_counter()
    await loop.sock_sendall(end, line)
    answer = await loop.sock_recv(end, 65536)
    seconds = time.perf_counter() - started
    expect(program, json.loads(answer or b'"nothing"'))
    return seconds
