"""Rows on which a query finds something."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlglot import exp
from sqlglot.expressions import Expr

from agentgym.envs.schemas.demands import Cell, Demands, Reader
from agentgym.envs.schemas.fill import Filling
from agentgym.envs.schemas.schema import errors

TRIES = 3
"""Of a row that may be refused for what was chosen by chance in it."""


def add_witness(filling: Filling, query: Expr) -> None:
    """Insert rows that meet what the query's conditions ask for, as far as that can be read from them. Where a key
    is taken already, its row stays as it is."""
    reader = Reader(filling.schema)
    reader.read(query, None, {})
    demands = reader.demands
    classes = _classes(demands)
    chosen: dict[Cell, Any] = {}
    order = {name: place for place, name in enumerate(filling.schema.tables)}
    for copy in range(demands.copies):
        fixed = {classes[cell] for cell in demands.fixed if cell in classes}
        if copy:
            chosen = {cell: value for cell, value in chosen.items() if cell in fixed}
        _choose(filling, demands, classes, chosen)
        for number in sorted(range(len(demands.tables)), key=lambda number: order[demands.tables[number]]):
            row = {column: chosen[root] for (of, column), root in classes.items() if of == number}
            any(filling.insert(demands.tables[number], row) for _ in range(TRIES))


def _classes(demands: Demands) -> dict[Cell, Cell]:
    """The cells that are asked for, and for each the one that stands for all that are equal to it."""
    parent: dict[Cell, Cell] = {}

    def root(cell: Cell) -> Cell:
        while parent.setdefault(cell, cell) != cell:
            cell = parent[cell]
        return cell

    for a, b in demands.same:
        parent[root(a)] = root(b)
    for cell in [*(cell for cell, _ in demands.tests), *demands.fixed]:
        root(cell)
    return {cell: root(cell) for cell in parent}


def _choose(filling: Filling, demands: Demands, classes: dict[Cell, Cell], chosen: dict[Cell, Any]) -> None:
    """A value for every class that has none yet: one that passes all tests, or a new one."""
    members: dict[Cell, list[Cell]] = defaultdict(list)
    for cell, root in classes.items():
        members[root].append(cell)
    for root, cells in members.items():
        if root in chosen:
            continue
        tests = [(cell, test) for cell, test in demands.tests if cell in cells]
        places = [(demands.tables[number], column) for number, column in cells]
        new = [filling.fresh(table, column) for table, column in places]
        pools = [value for place in places for value in filling.pools[place]]
        wanted = [value for cell, value in demands.literals if cell in cells]
        candidates = [*filling.rng.sample(pools, len(pools)), *new, *wanted, None] if tests else new
        for cell, test in tests:
            candidates = _passing(filling, demands.tables[cell[0]], cell[1], test, candidates)
        chosen[root] = candidates[0] if candidates else new[0]


def _passing(filling: Filling, table: str, name: str, test: Expr, values: list[Any]) -> list[Any]:
    """The values of which the condition holds, as the column would hold them."""
    column, execute = filling.schema.tables[table].column(name), filling.connection.execute
    assert column, "read from the schema"
    condition = test.transform(lambda node: exp.column("held") if isinstance(node, exp.Placeholder) else node)
    sql = f"select 1 from probe where {condition.sql(filling.schema.dialect)}"
    execute(f"create temp table probe(held {column.type})")
    passing = []
    for value in values:
        try:
            execute("insert into probe values (?)", [value])
            found = execute(sql).fetchone()
        except errors(filling.schema.dialect):  # a value that the column, or the condition, cannot be of
            found = None
        passing += [value] if found else []
        execute("delete from probe")
    execute("drop table probe")
    return passing
