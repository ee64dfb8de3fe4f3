"""What runs inside a session to grade a program that reads stdin and writes stdout: each input in a process of its
own, forked from one that never runs the program."""

import json
import os
import sys
import tempfile
import threading
import traceback
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from agentgym.envs.inside.values import say

LIMIT = 1 << 20
"""Bytes of an output that are read."""


def answer(nonce: str, inputs: list[str], program: str) -> None:
    """Report each output as soon as it is there: nonce, index, text and exit status."""
    for index, given in enumerate(inputs):
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
            stdin.write(given.encode())
            stdin.seek(0)
            if not (child := os.fork()):
                become(program, stdin.fileno(), stdout.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            stdout.seek(0)
            said = stdout.read(LIMIT).decode(errors="replace")
        outcome = {"stdout": said, "exit": status}
        say(nonce, str(index), json.dumps(outcome))


def become(program: str, stdin: int, stdout: int) -> NoReturn:
    """Run the program as the interpreter would, and leave as it would."""
    status = 1
    try:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["program.py"]
        exec(compile(program, "program", "exec", dont_inherit=True), {"__name__": "__main__"})
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc(limit=-1)
    try:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        sys.stdout.flush()
    finally:
        os._exit(status & 0xFF)
