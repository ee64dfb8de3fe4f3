"""A world's process: a loop that answers one request after the other, and forks.

While a statement runs a copy of the process waits, and goes on as the world, in the state before, when the process
dies of it. Where nothing but questions are allowed, one copy is good for all of them. The kernel ends what runs
for too long: nobody needs to be alive for that.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from agentgym.database import Access, Template
from agentgym.databases.inside.end import End
from agentgym.databases.inside.engine import Engine, GiveWay, Refused
from agentgym.databases.wire import write_table

Load = Callable[[Template], Engine]
STARTED, FINISHED = b"\1", b"\2"
MAX_REASON = 1000
TOO_MUCH = "it takes too much memory"
PATIENCE = 10
"""How much longer a statement may take by the clock than of the processor."""


class World:
    """end: where the host is heard. load: makes a database of a template. confine: puts up the walls. seconds: of
    processor time that a statement may take."""

    engine: Engine

    def __init__(self, end: End, load: Load, confine: Callable[[], None], seconds: float) -> None:
        self.end = end
        self.load, self.confine = load, confine
        self.seconds = seconds
        self.access: Access = "read"
        self.lifeline: int | None = None  # to the copy that waits

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
        try:
            self.confine()
        except OSError as error:
            self.end.send({"unsafe": str(error)})
            os._exit(0)
        gc.collect()
        gc.freeze()  # the collector would otherwise touch, and so copy, every shared page
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
        self.let_go()  # the copy is our parent's
        self.end.close()
        self.end = End(descriptor)
        self.access = access or self.access
        self.end.send({"pid": os.getpid()})

    def run(self, work: Callable[[], dict[str, Any]]) -> None:
        """Do `work`, and answer with what comes of it, while a copy of this process waits."""
        if self.lifeline is None:
            reader, self.lifeline = os.pipe()
            os.write(self.lifeline, STARTED)
            if os.fork() == 0:
                self.let_go()
                self.wait(reader)
                return
            os.close(reader)
        else:
            os.write(self.lifeline, STARTED)
        reply = self.attempt(work, self.lifeline)
        if self.access != "read":
            self.let_go()
        self.end.send(reply)

    def wait(self, reader: int) -> None:
        """In the copy: wait until nobody holds the other end of the lifeline any more. Who died of a statement is
        followed; who ended otherwise is not, since that is none of the policy's doing."""
        said = b""
        while word := os.read(reader, MAX_REASON):
            said = (said + word)[-MAX_REASON:]
        os.close(reader)
        _, started, reason = said.rpartition(FINISHED)[2].partition(STARTED)
        if not started:
            os._exit(0)
        self.end.send({"died": reason.decode(errors="replace"), "pid": os.getpid()})

    def let_go(self) -> None:
        """Let go of the lifeline; may be called twice."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None

    def attempt(self, work: Callable[[], dict[str, Any]], lifeline: int) -> dict[str, Any]:
        """The answer; or else the process ends, and the copy learns of it by the lifeline."""
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        signal.setitimer(signal.ITIMER_REAL, self.seconds * PATIENCE)
        try:
            reply: dict[str, Any] = {"done": work()}
        except Refused as refusal:
            reply = {"refused": str(refusal)}
        except (GiveWay, MemoryError) as reason:
            os.write(lifeline, (str(reason) or TOO_MUCH).encode()[: MAX_REASON // 2])
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(lifeline, FINISHED)
        return reply
