"""Runs a program in the session, and reports as an interpreter would."""

from __future__ import annotations

import ast
import linecache
import os
import shutil
import subprocess
import sys
import traceback
from typing import Any, NoReturn

COMMANDS = {"bash": ("bash", "-c"), "node": ("node", "-e")}


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


def run_process(language: str, code: str) -> str:
    """Execute a program of another language, which writes to our own streams; the status."""
    command, option = COMMANDS[language]
    if shutil.which(command) is None:
        return "absent"
    flush()
    try:
        done = subprocess.run([command, option, code], stdin=subprocess.DEVNULL, check=False)
    except (OSError, ValueError) as error:  # too long, a NUL byte in it, or one process too many
        print(f"{command}: {error}", file=sys.stderr)
        flush()
        return "error"
    return "error" if done.returncode else "ok"


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


def leave(error: SystemExit) -> NoReturn:
    """Exit as the interpreter would."""
    if error.code is not None and not isinstance(error.code, int):
        print(error.code, file=sys.stderr)
    flush()
    os._exit(error.code & 0xFF if isinstance(error.code, int) else error.code is not None)
