"""A session for machines that keep none: runs its whole log in one interpreter, all but the last step muted.

Sent as text, with a call of `main` below it, so it is one file that uses the standard library only. Both streams
get the nonce where the last step begins; after it, stderr gets the nonce and how it ended, as JSON.
"""

from __future__ import annotations

import ast
import base64
import json
import linecache
import os
import random
import subprocess
import sys
import time
import traceback
from types import ModuleType
from typing import Any

SHELLS = {"bash": ["bash", "-c"], "node": ["node", "-e"]}


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
        return {"status": run(step["code"], f"<run {number}>", namespace)}
    try:
        words = [*SHELLS[step["language"]], step["code"]]
        return {"status": "error" if subprocess.run(words, stdin=subprocess.DEVNULL).returncode else "ok"}
    except FileNotFoundError:
        return {"status": "absent"}


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


def run(code: str, filename: str, namespace: dict[str, Any]) -> str:
    """Run a program and report; its status. Leaves the interpreter with a program that does."""
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
        summary = traceback.TracebackException.from_exception(error)
        own_frames(summary)
        print("".join(summary.format()), end="", file=sys.stderr)
    flush()
    return status


def execute(code: str, filename: str, namespace: dict[str, Any]) -> None:
    """Run a program; like a notebook, show the value of a last expression."""
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    tree = ast.parse(code, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, filename, "exec", dont_inherit=True), namespace)
    if isinstance(last, ast.Expr):
        expression = ast.Expression(last.value)
        sys.displayhook(eval(compile(expression, filename, "eval", dont_inherit=True), namespace))


def own_frames(error: traceback.TracebackException | None) -> None:
    """Keep the program's own frames of a traceback."""
    while error is not None:
        error.stack[:] = [frame for frame in error.stack if frame.filename.startswith("<run ")]
        own_frames(error.__cause__)
        error = error.__context__


def flush() -> None:
    """Empty the streams, whatever the program put in their place."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue  # the program closed or replaced it: its own affair
