"""A session for machines that keep none: runs its whole log in one interpreter, all but the last step muted.

Sent as text, after `inside/programs.py` and with a call of `main` below it: it imports the standard library only.
Both streams get the nonce where the last step begins; after it, stderr gets the nonce and how it ended, as JSON.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentgym.sandboxes.inside.programs import execute, flush, report, run_process


def main(nonce: str, steps_file: str) -> None:
    """Replay the steps in `steps_file`; the last one counts. Leaves the interpreter."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets must iterate alike in every replay
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    with open(steps_file, "rb") as file:
        *log, last = json.loads(file.read())
    for name in (steps_file, sys.argv[0]):
        os.unlink(name)
    module = sys.modules["__main__"] = ModuleType("__main__")
    sys.argv = [""]
    random.seed(0)
    home, pid = os.getcwd(), os.getpid()
    streams = mute()
    for number, step in enumerate(log, 1):
        status = perform(step, number, module.__dict__, home)["status"]
        if status != step["status"]:
            unmute(streams, nonce)
            end(
                nonce, {"status": "diverged", "text": f"step {number}: {status!r} where it was {step['status']!r}"}
            )
    unmute(streams, nonce)
    started = time.monotonic()
    reply = perform(last, len(log) + 1, module.__dict__, home)
    if os.getpid() != pid:  # a child of the program's own os.fork: not ours to answer
        os._exit(0)
    end(nonce, {**reply, "seconds": time.monotonic() - started})


def mute() -> tuple[int, int]:
    """Point both streams at nothing; where they pointed."""
    streams = os.dup(1), os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    return streams


def unmute(streams: tuple[int, int], nonce: str) -> None:
    """Undo `mute`, and mark the place."""
    flush()
    for stream, was in zip((1, 2), streams, strict=True):
        os.dup2(was, stream)
        os.close(was)
        os.write(stream, f"{nonce}\n".encode())


def end(nonce: str, reply: dict[str, Any]) -> None:
    """Say how it ended, and leave whatever threads still run."""
    flush()
    os.write(2, f"{nonce}{json.dumps(reply)}".encode())
    os._exit(0)


def perform(step: dict[str, Any], number: int, namespace: dict[str, Any], home: str) -> dict[str, Any]:
    """Do one step; how it went."""
    if "path" in step:
        return file_step(os.path.join(home, step["path"]), step.get("data"))
    if step["language"] == "python":
        return {"status": run_python(step["code"], f"<run {number}>", namespace)}
    return {"status": run_process(step["language"], step["code"])}


def file_step(path: str, data: str | None) -> dict[str, Any]:
    """Write a file, or see whether it can be read."""
    try:
        if data is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "rb" if data is None else "wb") as file:
            if data is not None:
                file.write(base64.b64decode(data))
    except OSError as error:
        return {"status": "os", "errno": error.errno}
    return {"status": "ok"}


def run_python(code: str, filename: str, namespace: dict[str, Any]) -> str:
    """Run a program and report; its status. Leaves the interpreter with a program that does, by 0 or 1: a higher
    code is taken for a signal's."""
    status = "ok"
    try:
        execute(code, filename, namespace)
    except SystemExit as error:
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        flush()
        os._exit(1 if error.code else 0)
    except MemoryError:
        status = "oom"
    except BaseException as error:
        status = "error"
        report(error)
    flush()
    return status
