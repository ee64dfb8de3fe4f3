"""What the worlds of databases cost: a new one, a fork, a statement, beside the libraries' own ways to copy a
database.

Four tables of so many rows each. ours: by the sockets of the worlds' processes, as episodes have it. load: from a
database file to the first world; new: a further one; fork: of a world in which something was changed, which has an
open transaction; fork and write: a fork, and its first change; ask: a row by a condition, in a world that is only
read; change: one row, in one that may be changed; close: until its processes are gone. alone: a new world by
copying the file and opening it, by COPY FROM DATABASE into memory, by SQLite's deserialize; and the same question
there.

wall: milliseconds by the clock, which on a busy machine are mostly those of waiting; processor: milliseconds of
all processes concerned, per operation, of which the kernel knows hundredths of a second only. Rounds take turns
with all subjects, so that a slow minute hits all; medians, and the fastest of all.

    python benchmarks/worlds.py --json worlds.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import duckdb

from agentgym.checks.leftovers import descendants
from agentgym.database import Dialect, Template
from agentgym.databases.host import WorldHost
from agentgym.databases.world import World
from agentgym.databases.worlds import Worlds

SIZES = (1_000, 100_000)
DIALECTS: tuple[Dialect, ...] = ("sqlite", "duckdb")
TABLES = 4
ASK = "SELECT name, price FROM t0 WHERE id = 500"
CHANGE = "UPDATE t0 SET price = price + 1 WHERE id = 500"
TICK = os.sysconf("SC_CLK_TCK")
Operation = Callable[[], Awaitable[None]]
Samples = dict[str, list[float]]


def write_file(dialect: Dialect, rows: int, folder: Path) -> Path:
    """A database file with the tables, made by the library itself."""
    path = folder / f"{dialect}-{rows}.db"
    numbers, source = "", f"range(1, {rows + 1}) r(i)"
    if dialect == "sqlite":
        numbers = f"WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < {rows})"
        source = "r"
    connection: Any = sqlite3.connect(path) if dialect == "sqlite" else duckdb.connect(str(path))
    for table in range(TABLES):
        select = f"SELECT i AS id, 'name ' || i AS name, i * 1.5 AS price, i % 97 AS kind FROM {source}"
        connection.execute(f"CREATE TABLE t{table} AS {numbers} {select}")
        connection.execute(f"CREATE INDEX i{table} ON t{table} (id)")
    connection.commit()
    connection.close()
    return path


class Ours:
    """A template's worlds. made: forks that are still open."""

    def __init__(self, host: WorldHost, template: Template) -> None:
        self.host, self.template = host, template
        self.made: list[World] = []

    async def prepare(self) -> None:
        """One world to ask, and one with an open transaction."""
        self.reader = await self.host.open(self.template, "read")
        self.writer = await self.host.open(self.template, "transaction")
        for statement in ("BEGIN", CHANGE):
            await self.writer.execute(statement, 1)

    async def new(self) -> None:
        self.made.append(await self.host.open(self.template, "transaction"))

    async def fork(self) -> None:
        self.made.append(await self.writer.fork())

    async def fork_and_write(self) -> None:
        await self.fork()
        await self.made[-1].execute(CHANGE, 1)

    async def ask(self) -> None:
        await self.reader.execute(ASK, 10)

    async def change(self) -> None:
        await self.writer.execute(CHANGE, 10)

    async def close(self) -> None:
        await self.made.pop().close()

    async def clean(self) -> None:
        """Between rounds; none of it is measured."""
        while self.made:
            await self.close()

    def operations(self) -> dict[str, Operation]:
        """By name; `close` comes after those that make something to close."""
        names = ("new", "fork", "fork_and_write", "ask", "change", "close")
        return {f"ours: {name.replace('_', ' ')}": getattr(self, name) for name in names}


class Alone:
    """The libraries themselves, in this process."""

    def __init__(self, dialect: Dialect, path: Path) -> None:
        self.dialect, self.path = dialect, path
        self.copy = path.with_suffix(".copy")
        if dialect == "sqlite":
            self.open: Any = sqlite3.connect(path)
            self.image = self.open.serialize()
        else:
            self.open = duckdb.connect(str(path), read_only=True, config={"threads": 1})

    async def copied_file(self) -> None:
        shutil.copyfile(self.path, self.copy)
        if self.dialect == "sqlite":
            sqlite3.connect(self.copy).close()
        else:
            duckdb.connect(str(self.copy), config={"threads": 1}).close()

    async def deserialized(self) -> None:
        connection = sqlite3.connect(":memory:")
        connection.deserialize(self.image)
        connection.close()

    async def copied_from_database(self) -> None:
        connection = duckdb.connect(config={"threads": 1})
        connection.execute(f"ATTACH '{self.copy}' AS template (READ_ONLY); COPY FROM DATABASE template TO memory")
        connection.close()

    async def ask(self) -> None:
        self.open.execute(ASK).fetchall()

    def operations(self) -> dict[str, Operation]:
        """By name."""
        ways = {"file copied and opened": self.copied_file}
        if self.dialect == "sqlite":
            ways["deserialize"] = self.deserialized
        else:
            ways["COPY FROM DATABASE"] = self.copied_from_database
        return {f"alone: {name}": way for name, way in {**ways, "ask": self.ask}.items()}


def processor_ms() -> float:
    """What this process and all below it have used, those that have ended and were waited for included."""
    total = 0
    for pid in (os.getpid(), *descendants()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        total += sum(map(int, fields[11:15]))
    return total * 1000 / TICK


async def measure(operation: Operation, times: int) -> tuple[list[float], float]:
    """Milliseconds of each by the clock, and of one by the processor."""
    wall, used = [], processor_ms()
    for _ in range(times):
        began = time.perf_counter()
        await operation()
        wall.append((time.perf_counter() - began) * 1000)
    return wall, (processor_ms() - used) / times


async def compare(dialect: Dialect, rows: int, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each operation."""
    path = write_file(dialect, rows, folder)
    wall: Samples = {}
    processor: Samples = {}
    async with AsyncExitStack() as stack:
        host = await Worlds(seconds=30.0).open()
        stack.push_async_callback(host.close)
        await host.open(Template(dialect))  # the server's start is not the template's
        ours = Ours(host, Template(dialect, file=str(path)))
        began = time.perf_counter()
        await ours.prepare()
        wall["ours: load"] = [(time.perf_counter() - began) * 1000]
        operations = {**ours.operations(), **Alone(dialect, path).operations()}
        for _ in range(options.repeat):
            for name, operation in operations.items():
                found, used = await measure(operation, options.times)
                wall.setdefault(name, []).extend(found)
                processor.setdefault(name, []).append(used)
            await ours.clean()
    return [row(dialect, rows, name, wall[name], processor.get(name)) for name in wall]


def row(
    dialect: Dialect, rows: int, name: str, wall: list[float], processor: list[float] | None
) -> dict[str, Any]:
    """What was found of an operation."""
    return {
        "dialect": dialect,
        "rows": rows,
        "operation": name,
        "median_ms": statistics.median(wall),
        "fastest_ms": min(wall),
        "processor_ms": statistics.median(processor) if processor else None,
        "samples": len(wall),
    }


def show(found: list[dict[str, Any]]) -> None:
    """A table on the screen."""
    print(f"{'':10}{'rows':>9}  {'operation':32}{'median ms':>11}{'fastest':>9}{'processor':>11}")
    for line in found:
        used = "" if line["processor_ms"] is None else f"{line['processor_ms']:.2f}"
        numbers = f"{line['median_ms']:>11.2f}{line['fastest_ms']:>9.2f}{used:>11}"
        print(f"{line['dialect']:10}{line['rows']:>9,}  {line['operation']:32}{numbers}")


async def main() -> None:
    """Measure all and show it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--times", type=int, default=20, help="of each operation in a round")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for dialect in DIALECTS:
            for rows in SIZES:
                found += await compare(dialect, rows, Path(folder), options)
    show(found)
    if options.json:
        versions = {"duckdb": duckdb.__version__, "sqlite": sqlite3.sqlite_version}
        machine = {"python": platform.python_version(), "processors": os.cpu_count(), "load": os.getloadavg()}
        report = {"versions": versions, "machine": machine, "rows": found}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
