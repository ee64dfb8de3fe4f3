"""Hosts of databases, and files to make worlds from."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import duckdb
import pytest

from agentgym.checks.leftovers import descendants
from agentgym.database import Dialect, Template
from agentgym.databases.host import WorldHost
from agentgym.databases.worlds import Worlds

PEOPLE = """
CREATE TABLE people (id INTEGER, name TEXT);
INSERT INTO people VALUES (1, 'Ann'), (2, 'Bob'), (3, 'Cy');
"""
DIALECTS: tuple[Dialect, ...] = ("sqlite", "duckdb")


@pytest.fixture
async def host() -> AsyncIterator[WorldHost]:
    """One with tight limits, which leaves nothing behind."""
    before = descendants().keys()
    host = await Worlds(seconds=0.2, memory_mb=128, templates=2).open()
    try:
        yield host
    finally:
        await host.close()
    await until(lambda: not descendants().keys() - before)


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    dialect: Dialect = request.param
    return dialect


@pytest.fixture
def people(dialect: Dialect) -> Template:
    """Three people, by a script."""
    return Template(dialect, script=PEOPLE)


async def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds; fails after half a minute."""
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def ended(*pids: int) -> None:
    """Returns when there is none of these processes any more."""
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def write_file(dialect: Dialect, path: Path, script: str = PEOPLE) -> Template:
    """A database file, made by the library itself."""
    if dialect == "sqlite":
        connection = sqlite3.connect(path)
        connection.executescript(script)
        connection.close()
    else:
        with duckdb.connect(path) as database:
            database.execute(script)
    return Template(dialect, file=str(path))
