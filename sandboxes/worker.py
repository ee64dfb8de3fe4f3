"""What runs inside a session: a loop that executes code in one persistent namespace.

Loaded by path into the fork server, so it uses the standard library only. Requests and replies are frames on
the result channel: four bytes of length (big-endian), then a JSON object. A reply repeats its request's nonce,
which is how the host tells a program that finished from one that left.
"""

from __future__ import annotations

import ast
import base64
import errno
import io
import json
import linecache
import os
import random
import stat
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

SUFFIXES = {"bash": ".sh", "node": ".js"}


def read_exactly(channel: int, size: int) -> bytes:
    """`size` bytes from the host; leaves when it hung up."""
    data = b""
    while len(data) < size:
        part = os.read(channel, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def receive(channel: int) -> dict[str, Any]:
    """The next request."""
    request: dict[str, Any] = json.loads(read_exactly(channel, int.from_bytes(read_exactly(channel, 4), "big")))
    return request


def send(channel: int, reply: dict[str, Any]) -> None:
    """A frame to the host."""
    data = json.dumps(reply).encode()
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(channel, data) :]


def execute(code: str, filename: str, namespace: dict[str, Any]) -> None:
    """Run a program; like a notebook, show the value of a last expression."""
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    tree = ast.parse(code, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, filename, "exec", dont_inherit=True), namespace)
    if isinstance(last, ast.Expr):
        expression = ast.Expression(last.value)
        sys.displayhook(eval(compile(expression, filename, "eval", dont_inherit=True), namespace))


def user_frames(error: traceback.TracebackException | None) -> None:
    """Drop from a traceback, and from those it is chained to, every frame that is not the user's code."""
    while error is not None:
        error.stack[:] = [frame for frame in error.stack if frame.filename.startswith("<run ")]
        user_frames(error.__cause__)
        error = error.__context__


def report(error: BaseException) -> None:
    """Write the user's part of a traceback to stderr."""
    summary = traceback.TracebackException.from_exception(error, compact=True)
    user_frames(summary)
    print("".join(summary.format()), end="", file=sys.stderr)


def flush() -> None:
    """Empty the streams, whatever the program put in their place."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue  # the program closed or replaced it: its own affair


def run(code: str, number: int, namespace: dict[str, Any], memory: int) -> str:
    """Execute and report; the status. Does not return from a program that left, nor in a forked child."""
    pid = os.getpid()
    status = "ok"
    try:
        execute(code, f"<run {number}>", namespace)
    except SystemExit as error:
        leave(error)
    except MemoryError:
        status = "oom"
        print(f"MemoryError: the limit is {memory >> 20} MB", file=sys.stderr)
    except BaseException as error:
        status = "error"
        report(error)
    flush()
    if os.getpid() != pid:  # a child of the program's own os.fork: not ours to answer
        os._exit(0)
    return status


def run_other(code: str, language: str, number: int) -> str:
    """Run a program of another language in a process of its own; the status: an exit status but 0 is an error."""
    file = Path(tempfile.gettempdir(), f".run-{number}{SUFFIXES[language]}")
    file.write_text(code, encoding="utf-8", errors="replace")  # it may be too long for an argument
    try:
        done = subprocess.run([language, str(file)], stdin=subprocess.DEVNULL, check=False)
    finally:
        file.unlink(missing_ok=True)
    return "error" if done.returncode else "ok"


def leave(error: SystemExit) -> NoReturn:
    """Exit as the interpreter would."""
    if error.code is not None and not isinstance(error.code, int):
        print(error.code, file=sys.stderr)
    flush()
    os._exit(error.code & 0xFF if isinstance(error.code, int) else error.code is not None)


def read_file(path: str, limit: int) -> bytes:
    """A regular file's content; raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, "too large")
    return data


def write_file(path: str, data: bytes) -> None:
    """A new file, and the folders above it; raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def answer(request: dict[str, Any], number: int, namespace: dict[str, Any], memory: int) -> dict[str, Any]:
    """Do what a request asks for."""
    try:
        if "language" in request:
            return {"status": run_other(request["code"], request["language"], number)}
        if "code" in request:
            return {"status": run(request["code"], number, namespace, memory)}
        if "data" in request:
            write_file(request["path"], base64.b64decode(request["data"]))
            return {"status": "ok"}
        return {"status": "ok", "data": base64.b64encode(read_file(request["path"], request["limit"])).decode()}
    except OSError as error:
        return {"status": "error", "errno": error.errno}


def text_stream(descriptor: int) -> io.TextIOWrapper:
    """stdout or stderr as on a terminal: complete lines leave at once, so a killed program's are not lost."""
    raw = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - lives as long as the process
    return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)


def work(channel: int, workspace: str, memory: int) -> NoReturn:
    """Serve requests until killed. `memory` is in bytes."""
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = [""]
    sys.path.insert(0, "")
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = text_stream(1), text_stream(2)
    os.environ.update(HOME=workspace, TMPDIR=workspace)
    random.seed(0)  # a replay draws the same numbers
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    send(channel, {"nonce": "ready", "status": "ok"})
    number = 0
    while True:
        request = receive(channel)
        number += "code" in request
        send(channel, {"nonce": request["nonce"], **answer(request, number, main.__dict__, memory)})
