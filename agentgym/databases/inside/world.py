"""A world's process: a loop that answers one request after the other, and forks.

A statement runs beside a second copy of the process, which waits. In a world that may be changed the process itself
runs it, and when it dies of that, the copy goes on as the world, in the state before. In one that may only be read
the copy runs it and ends, so that nothing can have changed. The kernel ends what runs for too long: it needs nobody
to be alive for that.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from agentgym.database import Access, Template
from agentgym.databases.inside.end import End
from agentgym.databases.inside.engine import Engine, GiveWay, Refused
from agentgym.databases.wire import write_table
from agentgym.sandboxes.inside.kernel import PR_SET_PDEATHSIG, prctl

Load = Callable[[Template], Engine]
DONE = b"\0"
PATIENCE = 10
"""How much longer a statement may take by the clock than of the processor."""


class World:
    """end: where the host is heard. engine: its database. seconds: of processor time that a statement may take."""

    engine: Engine

    def __init__(self, end: End, load: Load, seconds: float) -> None:
        self.end = end
        self.load = load
        self.seconds = seconds
        self.access: Access = "read"

    def serve(self) -> NoReturn:
        """Greet, then obey until the host hangs up."""
        self.end.send({"pid": os.getpid()})
        while True:
            self.obey(*self.end.receive())

    def obey(self, request: dict[str, Any], descriptors: list[int]) -> None:
        """Answer one request."""
        match request["do"]:
            case "load":
                self.begin(Template(**request["template"]))
            case "fork":
                self.fork(descriptors[0], request["access"])
            case "execute":
                self.run(lambda: self.execute(request["sql"], request["rows"]))
            case "state":
                self.run(self.state)

    def begin(self, template: Template) -> None:
        """Become the world of a template."""
        try:
            self.engine = self.load(template)
        except Exception as error:  # whatever is wrong with a file
            self.end.send({"refused": f"{type(error).__name__}: {error}"})
            os._exit(0)
        self.end.send({"done": {}})

    def execute(self, sql: str, rows: int) -> dict[str, Any]:
        """A statement's result."""
        return write_table(self.engine.execute(sql, rows, self.access))

    def state(self) -> dict[str, Any]:
        """All tables."""
        return {name: write_table(table) for name, table in self.engine.state().items()}

    def fork(self, descriptor: int, access: Access | None) -> None:
        """Begin a second world at the other end of the descriptor."""
        try:
            is_parent = os.fork() > 0
        except OSError as error:
            os.close(descriptor)
            self.end.send({"refused": error.strerror})
            return
        if is_parent:
            os.close(descriptor)
            self.end.send({"done": {}})
            return
        self.end.close()
        self.end = End(descriptor)
        self.access = access or self.access
        self.end.send({"pid": os.getpid()})

    def run(self, work: Callable[[], dict[str, Any]]) -> None:
        """Do `work` in one of two copies of this process, and answer with what comes of it."""
        reader, writer = os.pipe()
        began = time.monotonic()
        parent = os.getpid()
        is_copy = os.fork() == 0
        if is_copy == (self.access == "read"):
            os.close(reader)
            if is_copy:
                die_with(parent)
            self.end.send(self.attempt(work, writer))
            if is_copy:
                os._exit(0)
            return
        os.close(writer)
        word = os.read(reader, 1000)
        os.close(reader)
        if word == DONE and is_copy:
            os._exit(0)
        if word != DONE:
            self.end.send({"refused": self.reason(word, time.monotonic() - began), "pid": os.getpid()})

    def attempt(self, work: Callable[[], dict[str, Any]], writer: int) -> dict[str, Any]:
        """The answer; or else the process ends. The copy that waits learns of it by the pipe's end."""
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        signal.setitimer(signal.ITIMER_REAL, self.seconds * PATIENCE)
        try:
            reply = {"done": work()}
        except Refused as refusal:
            reply = {"refused": str(refusal)}
        except (GiveWay, MemoryError) as reason:
            os.write(writer, str(reason).encode()[:900] or b"it takes too much memory")
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(writer, DONE)
        os.close(writer)
        return reply

    def reason(self, word: bytes, waited: float) -> str:
        """Why a statement came to nothing."""
        if word:
            return f"{word.decode(errors='replace')}; nothing was changed by it"
        if waited >= self.seconds:
            return f"no result within {self.seconds:g} s; nothing was changed by it"
        return "it broke the database, or takes too much memory; nothing was changed by it"


def die_with(parent: int) -> None:
    """Be killed when the process that we were forked from ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
