"""What a world promises a tool: values, caps, places of errors, templates, access."""

from __future__ import annotations

import datetime
import hashlib
import os
from decimal import Decimal
from pathlib import Path

import pytest

from agentgym.database import Access, Dialect, Template
from agentgym.databases.host import WorldHost
from agentgym.databases.worlds import Worlds
from agentgym.errors import SqlError, TaskError

from .conftest import PEOPLE, ended, write_file
from .test_chaos import count, pid_of


async def test_at_most_so_many_rows_and_whether_there_are_more(host: WorldHost, people: Template) -> None:
    world = await host.open(people)
    three, two = [await world.execute("SELECT id AS number FROM people ORDER BY id", cap) for cap in (3, 2)]
    assert (three.columns, three.rows, three.truncated) == (("number",), ((1,), (2,), (3,)), False)
    assert (two.rows, two.truncated) == (((1,), (2,)), True)


DUCKDB_VALUES: list[tuple[str, object]] = [
    ("NULL", None),
    ("TRUE", True),
    ("-9223372036854775808", -(2**63)),
    ("170141183460469231731687303715884105727", 2**127 - 1),
    ("1.5", Decimal("1.5")),
    ("1e300", 1e300),
    ("'a' || chr(0) || 'ü€😀'", "a\0ü€😀"),
    ("'\\x00\\xFF'::BLOB", b"\x00\xff"),
    ("DATE '2024-02-29'", datetime.date(2024, 2, 29)),
    ("TIME '01:02:03.5'", datetime.time(1, 2, 3, 500_000)),
    ("TIMESTAMP '2024-02-29 01:02:03.25'", datetime.datetime(2024, 2, 29, 1, 2, 3, 250_000)),
    ("INTERVAL '-1' DAY", datetime.timedelta(days=-1)),
    ("[1, NULL]", "[1, None]"),
    ("{'a': 1}", "{'a': 1}"),
]
SQLITE_VALUES: list[tuple[str, object]] = [
    ("NULL", None),
    ("9e999", float("inf")),
    ("x'00ff'", b"\x00\xff"),
    ("'ü'", "ü"),
    ("5 / 2", 2),
    ("5 / 2.0", 2.5),
]
ERRORS = [
    ("SELECT id FROM people WERE id = 1", "id = 1"),
    ("SELECT id\nFROM peple", "peple"),
    ("SELECT id, 'nme' AS x, nme FROM people", "nme FROM"),
    ("SELECT nothing(id) FROM people", "nothing"),
]
STATEMENTS: list[tuple[str, Access]] = [
    ("SELECT * FROM people", "read"),
    ("EXPLAIN SELECT * FROM people", "read"),
    ("WITH a AS (SELECT 1) SELECT * FROM a", "read"),
    ("VALUES (1)", "read"),
    ("INSERT INTO people VALUES (4, 'Di')", "write"),
    ("WITH a AS (SELECT 4 AS b) INSERT INTO people SELECT b, 'x' FROM a", "write"),
    ("UPDATE people SET name = 'x'", "write"),
    ("DELETE FROM people RETURNING id", "write"),
    ("CREATE TABLE t AS SELECT 1 AS a", "write"),
    ("CREATE INDEX i ON people (id)", "write"),
    ("CREATE VIEW v AS SELECT 1 AS a", "write"),
    ("ALTER TABLE people ADD COLUMN age INTEGER", "write"),
    ("DROP TABLE people", "write"),
    ("BEGIN", "transaction"),
]


async def test_values_keep_their_types(host: WorldHost, dialect: Dialect) -> None:
    world = await host.open(Template(dialect))
    for expression, value in SQLITE_VALUES if dialect == "sqlite" else DUCKDB_VALUES:
        [[found]] = (await world.execute(f"SELECT {expression}", 1)).rows
        assert (type(found), found) == (type(value), value)


async def test_an_error_shows_its_place(host: WorldHost, people: Template) -> None:
    world = await host.open(people)
    for statement, marked in ERRORS:
        with pytest.raises(SqlError) as error:
            await world.execute(statement, 1)
        *_, line, mark = str(error.value).splitlines()
        assert line.startswith(("LINE 1: ", "LINE 2: "))
        assert line[mark.index("^") :].startswith(marked), error.value


async def test_a_file_is_read_and_never_written(host: WorldHost, dialect: Dialect, tmp_path: Path) -> None:
    template = write_file(dialect, tmp_path / "a.db")
    before = digest(template)
    world = await host.open(template, "write")
    await world.execute("DELETE FROM people WHERE id = 1", 1)
    for _ in range(12):
        await world.execute("INSERT INTO people SELECT * FROM people", 1)
    assert await count(world) == 2 << 12
    assert await count(await host.open(template)) == 3
    assert os.listdir(tmp_path) == ["a.db"]
    assert digest(template) == before


def digest(template: Template) -> str:
    return hashlib.sha256(Path(template.file).read_bytes()).hexdigest()


async def test_a_file_with_a_write_ahead_log_and_letters_of_no_alphabet(host: WorldHost, tmp_path: Path) -> None:
    script = "PRAGMA journal_mode = WAL; CREATE TABLE t (a TEXT); INSERT INTO t VALUES (CAST(x'61ff' AS TEXT));"
    world = await host.open(write_file("sqlite", tmp_path / "a.db", script))
    assert (await world.execute("SELECT a FROM t", 1)).rows == (("a\ufffd",),)


async def test_what_may_be_done_is_what_the_access_says(host: WorldHost, people: Template) -> None:
    order: list[Access] = ["read", "write", "transaction"]
    for access in order:
        start = await host.open(people, access)
        for statement, least in STATEMENTS:
            world = await start.fork()
            if order.index(access) >= order.index(least):
                await world.execute(statement, 10)
            else:
                with pytest.raises(SqlError, match="not allowed here"):
                    await world.execute(statement, 10)
                assert await count(world) == 3


async def test_explain_analyze_changes_nothing_where_nothing_may_be_changed(host: WorldHost) -> None:
    world = await host.open(Template("duckdb", script=PEOPLE))
    with pytest.raises(SqlError, match="read-only"):
        await world.execute("EXPLAIN ANALYZE DELETE FROM people", 10)
    assert await count(world) == 3


async def test_the_schema_can_be_looked_at(host: WorldHost, people: Template) -> None:
    ways = {
        "sqlite": [
            *("SELECT sql FROM sqlite_master", "PRAGMA table_info(people)", "PRAGMA table_list"),
            "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c",
        ],
        "duckdb": ["SHOW TABLES", "DESCRIBE people", "SELECT * FROM information_schema.columns"],
    }
    world = await host.open(people)
    for way in ways[people.dialect]:
        assert "people" in repr(await world.execute(way, 100)) or "name" in repr(await world.execute(way, 100))


async def test_the_state_is_every_table_in_full(host: WorldHost, people: Template) -> None:
    world = await host.open(people, "write")
    await world.execute('CREATE TABLE "odd name" AS SELECT 1 AS "a b"', 1)
    state = await world.state()
    assert {name: (table.columns, sorted(table.rows)) for name, table in state.items()} == {
        "people": (("id", "name"), [(1, "Ann"), (2, "Bob"), (3, "Cy")]),
        "odd name": (("a b",), [(1,)]),
    }


async def test_templates_that_are_not_used_make_room(host: WorldHost) -> None:
    """host keeps two."""
    templates = [Template("sqlite", script=f"{PEOPLE} -- {number}") for number in range(4)]
    first = await host.open(templates[0])
    loaded = pid_of(await host._templates[templates[0]].world)
    for template in templates[1:]:
        await host.open(template)
    assert list(host._templates) == templates[2:]
    await ended(loaded)
    assert await count(first) == await count(await host.open(templates[0])) == 3


@pytest.mark.parametrize(
    ("info", "complaint"),
    [
        ("x.db", "a database is a table with 'dialect'"),
        ({"dialect": "oracle"}, "dialect: unknown 'oracle'"),
        ({"dialect": "sqlite", "file": "a", "script": "b"}, "and not by both"),
        ({"dialect": "sqlite", "fil": "a"}, "did you mean 'file'"),
    ],
)
def test_what_is_no_template_is_told(info: object, complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        Template.of(info)


@pytest.mark.parametrize("name", ["seconds", "memory_mb", "templates"])
def test_limits_are_above_zero(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        Worlds(**{name: 0})
