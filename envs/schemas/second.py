"""Second databases, on which a query's answer is found again: who wrote literals down is found out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentgym.database import Row, Table, Template
from agentgym.envs.schemas.fill import Filling
from agentgym.envs.schemas.read_schema import read_schema
from agentgym.envs.schemas.schema import Connection, Schema, errors, opened
from agentgym.envs.schemas.witness import add_witness
from agentgym.envs.schemas.write_script import write_script
from agentgym.envs.sql_grading import parse, same_rows

DATABASES = 8
"""Most of them for the queries of one database."""


@dataclass(frozen=True, slots=True)
class Second:
    """template: a database on which the query finds something, else the first one made. empty: it finds nothing on
    any. same: what it finds, it finds on the original too."""

    template: Template
    empty: bool
    same: bool


def second_databases(template: Template, queries: Sequence[str], seed: int = 0) -> dict[str, Second]:
    """For each query another database of the template's schema. They are few, and shared: a query gets the first
    one on which it finds rows that are not those of the original. Raises TaskError for a template or a query that
    is none."""
    source = opened(template)
    try:
        return _Search(template, source, queries, seed).run()
    finally:
        source.close()


class _Search:
    def __init__(self, template: Template, source: Connection, queries: Sequence[str], seed: int) -> None:
        self.dialect, self.source, self.seed = template.dialect, source, seed
        self.schema: Schema = read_schema(source, template.dialect)
        self.trees = {sql: parse(sql, template.dialect) for sql in dict.fromkeys(queries)}
        self.originals = {sql: _found(source, sql, errors(template.dialect)) for sql in self.trees}

    def run(self) -> dict[str, Second]:
        chosen: dict[str, Second] = {}
        open_ones = list(self.trees)
        for attempt in range(DATABASES):
            rng = random.Random(f"{self.seed} {attempt}")
            filling = Filling(self.schema, self.source, rng)
            for sql in rng.sample(open_ones, len(open_ones)) if attempt else ():
                add_witness(filling, self.trees[sql])
            filling.fill()
            template = Template(self.dialect, script=write_script(self.schema, filling.connection))
            for sql in open_ones:
                second = self._judge(sql, template, filling.connection)
                if sql not in chosen or (second.empty, second.same) < (chosen[sql].empty, chosen[sql].same):
                    chosen[sql] = second
            filling.connection.close()
            open_ones = [sql for sql in open_ones if chosen[sql].empty or chosen[sql].same]
            if not open_ones:
                break
        return chosen

    def _judge(self, sql: str, template: Template, connection: Connection) -> Second:
        found, original = _found(connection, sql, errors(self.dialect)), self.originals[sql]
        if not found:
            return Second(template, empty=True, same=False)
        return Second(
            template, empty=False, same=original is not None and same_rows(_table(found), _table(original), False)
        )


def _found(connection: Connection, sql: str, error: type[Exception]) -> list[Row] | None:
    """None where the query fails, as on a database that is too old for it."""
    try:
        rows: list[Row] = connection.execute(sql).fetchall()
    except error:
        return None
    return rows


def _table(rows: list[Row]) -> Table:
    return Table(("",) * len(rows[0]) if rows else (), tuple(rows))
