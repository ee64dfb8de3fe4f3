"""The server: a fresh interpreter that has the database libraries loaded and forks the templates' processes.

Argument: the configuration as JSON. The host sends a socket for each template on the control socket (stdin), and
the template itself on that one. When the host hangs up, the server ends; worlds have sockets of their own.
"""

from __future__ import annotations

import ctypes  # noqa: F401  (what a world needs is loaded before it may not open files)
import gc
import json
import os
import signal
import socket
import sys
from functools import partial

import duckdb  # noqa: F401

from agentgym.database import Dialect, Template
from agentgym.databases.inside.confine import confine
from agentgym.databases.inside.duck import DuckDb
from agentgym.databases.inside.end import End
from agentgym.databases.inside.engine import Engine
from agentgym.databases.inside.sqlite import Sqlite
from agentgym.databases.inside.world import World
from agentgym.databases.wire import frame, write_table
from agentgym.sandboxes.inside.kernel import PR_SET_CHILD_SUBREAPER, prctl
from agentgym.sandboxes.inside.zygote import mapped, use_huge_pages

LARGE = 32 << 20
"""Bytes of a template for which it pays to make forks cheaper."""
ENGINES: dict[Dialect, type[Engine]] = {"sqlite": Sqlite, "duckdb": DuckDb}


def load(template: Template, memory: int) -> Engine:
    """The template's database, ready for what a policy writes."""
    before = mapped()
    engine = ENGINES[template.dialect](template)
    engine.lock(memory)
    if mapped() - before >= LARGE:
        use_huge_pages()
    return engine


def warm_up(kind: type[Engine], dialect: Dialect) -> None:
    """Have a library, and ours, load what they load on first use, before they may not open files."""
    engine = kind(Template(dialect))
    for value in ("1", "'a'", "1.5", "NULL", "CAST('2000-01-01' AS DATE)", "CURRENT_TIMESTAMP", "CURRENT_DATE"):
        frame(write_table(engine.execute(f"SELECT {value}", 1, "read")))


def main() -> None:
    """Serve the host."""
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # worlds that end leave nothing to be collected
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    for dialect, kind in ENGINES.items():
        warm_up(kind, dialect)
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        [descriptor] = descriptors
        if os.fork() == 0:
            control.close()
            os.dup2(null, 2)  # what a library says at its death is nobody's business
            os.close(null)
            walls = partial(confine, config["memory"])
            World(End(descriptor), partial(load, memory=config["memory"]), walls, config["seconds"]).serve()
        os.close(descriptor)


if __name__ == "__main__":
    main()
