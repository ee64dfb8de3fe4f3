"""What runs inside a session: a loop that executes programs in one persistent namespace.

A reply repeats its request's nonce, which is how the host tells a program that finished from one that left.
"""

from __future__ import annotations

import base64
import errno
import io
import os
import random
import sys
from types import ModuleType
from typing import Any, NoReturn

from . import seccomp
from .branching import branch
from .channel import Channel
from .examine import CHANNEL
from .files import read_file, write_file
from .kernel import drop_capabilities
from .limits import limit
from .programs import run, run_process


class Worker:
    """Serves requests until killed."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.main = sys.modules["__main__"]
        self.programs = 0
        self.level = 1  # of branches
        self.channel = Channel(CHANNEL)

    def serve(self) -> NoReturn:
        """Greet, then answer one request after the other."""
        self.channel.send({"nonce": "ready", "status": "ok"})
        while True:
            request, descriptors = self.channel.receive()
            if descriptors:
                branch(descriptors, self.level, self.go_on)
            nonce = request.pop("nonce")
            self.channel.send({"nonce": nonce, **self.answer(request)})

    def go_on(self) -> NoReturn:
        """In a branch."""
        self.level += 1
        self.serve()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for."""
        try:
            if "code" in request:
                status = self.run(request["code"], request["language"])
                return {"status": "error", "absent": True} if status == "absent" else {"status": status}
            if "data" in request:
                write_file(request["path"], base64.b64decode(request["data"]))
                return {"status": "ok"}
            data = read_file(request["path"], request["limit"])
            return {"status": "ok", "data": base64.b64encode(data).decode()}
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in a path
            return {"status": "error", "errno": getattr(error, "errno", None) or errno.EINVAL}

    def run(self, code: str, language: str) -> str:
        """Execute a program; the status."""
        self.programs += 1
        if language != "python":
            return run_process(language, code)
        return run(code, self.programs, self.main.__dict__, self.memory)


def text_stream(descriptor: int) -> io.TextIOWrapper:
    """stdout or stderr as on a terminal: complete lines leave at once, so a killed program's are not lost."""
    raw = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - lives as long as the process
    return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)


def prepare() -> None:
    """In the zygote: all of a worker that needs no session, so that it is shared memory in each."""
    sys.modules["__main__"] = ModuleType("__main__")
    sys.argv = [""]
    sys.path.insert(0, "")
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = text_stream(1), text_stream(2)
    random.seed(0)  # a replay draws the same numbers
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


def work(config: dict[str, Any]) -> NoReturn:
    """Become the worker of the session whose world this process is in."""
    os.environ["HOME"] = os.environ["TMPDIR"] = os.getcwd()
    if config["namespaces"]:
        drop_capabilities()
    limit(config)
    if config["seccomp"]:
        seccomp.install()
    Worker(config["memory"]).serve()
