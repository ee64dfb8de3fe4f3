"""Second databases: the same schema, other rows that keep its rules, and something for every query to find."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.database import Dialect, Template
from agentgym.envs.schemas.fill import Filling
from agentgym.envs.schemas.read_schema import read_schema
from agentgym.envs.schemas.schema import opened
from agentgym.envs.schemas.second import second_databases
from agentgym.envs.schemas.write_script import write_script
from agentgym.errors import TaskError

TABLES = """
create table maker (id integer primary key, name varchar not null unique, founded date);
create table model (maker integer not null references maker(id), code varchar, price double check (price > 0),
                    seats integer, primary key (maker, code));
create table sale (id integer primary key, maker integer, code varchar, day timestamp, buyer varchar,
                   foreign key (maker, code) references model(maker, code));
create table plain (word varchar, number integer);
create view dear as select * from model where price > 100;
"""
ROWS = """
insert into maker values (1, 'Abt', '1990-01-01'), (2, 'Bix', '2001-05-06'), (3, 'O''Neil', null);
insert into model values (1, 'x', 10.5, 4), (1, 'y', 200.25, 2), (2, 'x', 99, 5), (3, 'z', 12, 4);
insert into sale values (1, 1, 'x', '2020-01-02 10:00:00', 'Ann'), (2, 2, 'x', '2021-03-04 00:00:00', null),
                        (3, null, null, '2021-03-04 12:00:00', 'Bob');
insert into plain values ('a', 1), ('a', 1), (null, null), ('b', 7);
"""
DIALECTS: list[Dialect] = ["sqlite", "duckdb"]


@pytest.fixture(params=DIALECTS)
def template(request: pytest.FixtureRequest) -> Template:
    return Template(request.param, script=TABLES + ROWS)


@pytest.fixture
def source(template: Template) -> Iterator[Any]:
    connection = opened(template)
    yield connection
    connection.close()


def filled(template: Template, source: Any, seed: int) -> str:
    schema = read_schema(source, template.dialect)
    filling = Filling(schema, source, random.Random(seed))
    filling.fill()
    script = write_script(schema, filling.connection)
    filling.connection.close()
    return script


def checked(template: Template, script: str) -> Any:
    """The database, loaded with every rule enforced."""
    enforced = "pragma foreign_keys = on;\n" if template.dialect == "sqlite" else ""
    return opened(Template(template.dialect, script=enforced + script))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), dialect=st.sampled_from(DIALECTS))
def test_any_seed_keeps_the_schemas_rules(seed: int, dialect: Dialect) -> None:
    template = Template(dialect, script=TABLES + ROWS)
    source = opened(template)
    script = filled(template, source, seed)
    second = checked(template, script)
    shape = "select name, sql from sqlite_master where sql is not null order by 1"
    assert second.execute(shape).fetchall() == source.execute(shape).fetchall()
    for table in ("maker", "model", "sale", "plain"):
        read = f"select * from {table}"
        rows = second.execute(read).fetchall()
        assert Counter(rows) != Counter(source.execute(read).fetchall())
        assert len(rows) >= 4
    assert filled(template, source, seed) == script
    assert filled(template, source, seed + 1) != script
    source.close()
    second.close()


EMPTY = [
    "select name from maker where name = 'Zed'",
    "select name from maker where name like 'Q%z_'",
    "select name from maker where founded between '1950-01-01' and '1950-12-31'",
    "select m.name from maker m join model o on o.maker = m.id where o.price > 5000 and o.seats = 9",
    "select m.name from maker m join model o on o.maker = m.id join sale s on s.maker = o.maker "
    "and s.code = o.code where s.buyer = 'Eve' and m.name = 'Zed' and o.code = 'q'",
    "select maker from model group by maker having count(*) > 9",
    "select maker from model where seats = 77 intersect select maker from model where seats = 78",
    "select name from maker where id in (select maker from model where seats = 88)",
    "select name from maker where exists (select 1 from model where model.maker = maker.id and seats = 66)",
    "with wide as (select maker from model where seats > 90) select name from maker, wide where id = wide.maker",
    "select name from (select * from maker where name = 'Yan') as t where id > 0",
    "select name from maker where id not in (select maker from model) and name = 'Zed'",
    "select word from plain where number = 12345 or number = 54321",
    "select word from plain where word is null and number = 99",
    "select a.word from plain a join plain b on a.number = b.number where a.word = 'left' and b.word = 'right'",
    "select word from plain where upper(word) = 'LOUD'",
    "select max(price) from model where code = 'w' group by code having max(price) > 700",
]


def test_every_query_finds_something(template: Template, source: Any) -> None:
    assert not any(source.execute(sql).fetchall() for sql in EMPTY)
    seconds = second_databases(template, EMPTY)
    assert {sql for sql, second in seconds.items() if second.empty} == set()
    for sql, second in seconds.items():
        connection = checked(template, second.template.script)
        assert connection.execute(sql).fetchall(), sql
        connection.close()
    assert len({second.template for second in seconds.values()}) <= 4


def test_what_can_never_be_found_is_said_to_be_empty(template: Template) -> None:
    sql = "select name from maker group by id having count(*) > 1"
    assert second_databases(template, [sql])[sql].empty


def test_a_result_that_was_written_down_is_another_one_on_the_second(template: Template, source: Any) -> None:
    queries = ["select count(*) from maker", "select name from maker", "select max(price) from model", "select 1"]
    seconds = second_databases(template, queries)
    for sql, second in seconds.items():
        connection = checked(template, second.template.script)
        rows, before = connection.execute(sql).fetchall(), source.execute(sql).fetchall()
        assert second.same is (Counter(rows) == Counter(before)) is (sql == "select 1")
        connection.close()


def test_values_of_all_types_come_back_from_a_script(template: Template) -> None:
    blob = "X'00ff'" if template.dialect == "sqlite" else "'\\x00\\xFF'::blob"
    extra = (
        "create table odd (i bigint, f double, t varchar, b blob);\ninsert into odd values "
        f"(-9007199254740993, 1e-300, 'it''s; -- \n new', {blob}), (null, null, null, null);"
    )
    first = opened(Template(template.dialect, script=extra))
    again = opened(Template(template.dialect, script=write_script(read_schema(first, template.dialect), first)))
    assert again.execute("select * from odd").fetchall() == first.execute("select * from odd").fetchall()
    first.close()
    again.close()


def test_tables_that_refer_to_nothing_and_to_themselves(template: Template) -> None:
    if template.dialect == "duckdb":
        pytest.skip("DuckDB refuses what refers to nothing")
    script = (
        "create table boss (id int primary key, above int references boss(id), gone int references absent(x));\n"
        "create table a (id int primary key, b int references b(id));\n"
        "create table b (id int primary key, a int references a(id));\n"
    )
    [second] = second_databases(
        Template("sqlite", script=script), ["select * from boss join a on a.id = boss.id"]
    ).values()
    assert not second.empty


def test_broken_databases_and_queries(template: Template) -> None:
    with pytest.raises(TaskError, match="script failed"):
        second_databases(Template(template.dialect, script="create tabel x;"), [])
    with pytest.raises(TaskError, match="gold query"):
        second_databases(template, ["select from where"])
