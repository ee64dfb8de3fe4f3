"""What rows a query's conditions ask for: which columns are to agree, and what each is to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp
from sqlglot.expressions import Expr

from agentgym.envs.schemas.schema import Schema

Cell = tuple[int, str]
"""A column of a demanded row: the row's number, the column's name in lower case."""
MOST = 30
"""Copies of the rows, for conditions on how many there are."""


@dataclass
class Demands:
    """tables: of the rows, by number. same: cells that are to be equal. tests: conditions on a single cell, which
    stands in them as a placeholder. literals: what a cell is compared with. copies: how often all rows are wanted,
    with the cells in `fixed` alike."""

    tables: list[str] = field(default_factory=list)
    same: list[tuple[Cell, Cell]] = field(default_factory=list)
    tests: list[tuple[Cell, Expr]] = field(default_factory=list)
    literals: list[tuple[Cell, Any]] = field(default_factory=list)
    fixed: list[Cell] = field(default_factory=list)
    copies: int = 1


Columns = dict[str, "Cell | None"]
"""A source's columns; None for what is computed."""


@dataclass
class Scope:
    """The sources of a SELECT by alias, and of those around it."""

    sources: dict[str, Columns]
    outer: Scope | None = None

    def cell(self, name: str, source: str) -> Cell | None:
        """What a column's name means; None for what is no column of a row."""
        named = [self.sources[source]] if source in self.sources else [] if source else self.sources.values()
        for columns in named:
            if name in columns:
                return columns[name]
        return self.outer.cell(name, source) if self.outer else None


class Reader:
    """Collects the demands of a query. Those of subqueries that rows must not be in are left out."""

    def __init__(self, schema: Schema) -> None:
        self.schema, self.demands = schema, Demands()

    def read(self, query: Expr, outer: Scope | None, views: Mapping[str, Expr]) -> list[Cell | None]:
        """The cells that the query's result consists of."""
        if isinstance(query, exp.SetOperation):
            views = {**views, **_views(query)}
            left = self.read(query.left, outer, views)
            if not isinstance(query, exp.Except):
                right = self.read(query.right, outer, views)
                if isinstance(query, exp.Intersect):
                    self.demands.same += [(a, b) for a, b in zip(left, right, strict=False) if a and b]
            return left
        if isinstance(query, exp.Select):
            return self._select(query, outer, {**views, **_views(query)})
        return self.read(query.this, outer, views) if isinstance(query, exp.Subquery) else []

    def _select(self, query: Expr, outer: Scope | None, views: Mapping[str, Expr]) -> list[Cell | None]:
        scope = Scope({}, outer)
        joins = query.args.get("joins") or []
        source = query.args.get("from_")
        for part in [*([source.this] if source else []), *(join.this for join in joins)]:
            scope.sources[part.alias_or_name.lower()] = self._source(part, outer, views)
        for join in joins:
            self._join(join, scope, views)
        for clause in ("where", "having"):
            if condition := query.args.get(clause):
                self._condition(condition.this, scope, views)
        if group := query.args.get("group"):
            self.demands.fixed += [cell for key in group.expressions if (cell := _cell(key, scope))]
        outputs: list[Cell | None] = []
        for projection in query.expressions:
            star = isinstance(projection, exp.Star | exp.Column) and projection.is_star
            outputs += _all(scope) if star else [_cell(projection, scope)]
        return outputs

    def _source(self, part: Expr, outer: Scope | None, views: Mapping[str, Expr]) -> Columns:
        name = part.name.lower()
        inner = views.get(name) if part.key == "table" else part.this if part.key == "subquery" else None
        if inner is not None:
            others = {key: view for key, view in views.items() if key != name}
            cells = self.read(inner, outer, others)
            names = [column.lower() for column in inner.named_selects] if isinstance(inner, exp.Query) else []
            return dict(zip(names, cells, strict=False))
        table = self.schema.tables.get(name)
        if table is None:
            return {}
        self.demands.tables.append(name)
        number = len(self.demands.tables) - 1
        return {column.name.lower(): (number, column.name.lower()) for column in table.columns}

    def _join(self, join: Expr, scope: Scope, views: Mapping[str, Expr]) -> None:
        if condition := join.args.get("on"):
            self._condition(condition, scope, views)
        shared = [column.name.lower() for column in join.args.get("using") or []]
        if join.args.get("method") == "NATURAL":
            last = scope.sources[join.this.alias_or_name.lower()]
            shared = [name for name in last if sum(name in columns for columns in scope.sources.values()) > 1]
        for name in shared:
            cells = [cell for columns in scope.sources.values() if (cell := columns.get(name))]
            self.demands.same += [(cells[0], cell) for cell in cells[1:]]

    def _condition(self, node: Expr, scope: Scope, views: Mapping[str, Expr]) -> None:
        if isinstance(node, exp.Paren):
            self._condition(node.this, scope, views)
        elif isinstance(node, exp.And):
            self._condition(node.left, scope, views)
            self._condition(node.right, scope, views)
        elif node.find(exp.Query):
            self._with_subquery(node, scope, views)
        elif isinstance(node, exp.EQ) and _cell(node.left, scope) and _cell(node.right, scope):
            self._agree(_cell(node.left, scope), _cell(node.right, scope))
        elif node.find(exp.Count):
            wanted = [int(number.name) for number in node.find_all(exp.Literal) if number.is_int]
            strict = isinstance(node, exp.GT | exp.NEQ)
            self.demands.copies = max(self.demands.copies, min(MOST, max(wanted, default=1) + strict))
        elif isinstance(node, exp.Or) and len({c for _, c in _cells(node, scope)}) > 1:
            self._condition(node.left, scope, views)
        else:
            self._test(node, scope)

    def _with_subquery(self, node: Expr, scope: Scope, views: Mapping[str, Expr]) -> None:
        """Rows that the subquery finds, where the condition wants some."""
        if isinstance(node, exp.Exists):
            self.read(node.this, scope, views)
        elif isinstance(node, exp.In):
            [inner] = self.read(node.args["query"], scope, views)[:1] or [None]
            self._agree(_cell(node.this, scope), inner)
        elif isinstance(node, exp.Or):
            self._condition(node.left, scope, views)
        elif isinstance(node, exp.Binary):
            sides: list[Cell | None] = []
            for side in (node.left, node.right):
                found = (
                    self.read(side, scope, views)[:1] if isinstance(side, exp.Subquery) else [_cell(side, scope)]
                )
                sides += found or [None]
            if isinstance(node, exp.EQ):
                self._agree(*sides)

    def _agree(self, a: Cell | None, b: Cell | None) -> None:
        if a and b:
            self.demands.same.append((a, b))

    def _test(self, node: Expr, scope: Scope) -> None:
        """A condition on one cell becomes a test of it; one on several asks for nothing."""
        cells = _cells(node, scope)
        if len({cell for _, cell in cells}) != 1:
            return
        [cell] = {cell for _, cell in cells}
        names = {id(column) for column, _ in cells}
        copy = node.copy()
        for ours, theirs in zip(list(copy.find_all(exp.Column)), list(node.find_all(exp.Column)), strict=True):
            if id(theirs) not in names:
                self.demands.literals.append((cell, theirs.name))
            elif ours is copy:
                return
            else:
                ours.replace(exp.Placeholder())
        for aggregate in list(copy.find_all(exp.AggFunc)):
            aggregate.replace(aggregate.this)  # of one row it is the row's own value
        self.demands.tests.append((cell, copy))
        self.demands.literals += [(cell, value) for value in _literals(node)]


def _views(query: Expr) -> dict[str, Expr]:
    found = query.args.get("with_")
    return {view.alias.lower(): view.this for view in found.expressions} if found else {}


def _all(scope: Scope) -> list[Cell | None]:
    return [cell for columns in scope.sources.values() for cell in columns.values()]


def _cell(node: Expr, scope: Scope) -> Cell | None:
    """The cell that an expression is, or the highest or lowest of; None for what is computed."""
    while isinstance(node, exp.Alias | exp.Paren | exp.Max | exp.Min | exp.Distinct | exp.Cast):
        node = node.expressions[0] if isinstance(node, exp.Distinct) else node.this
    return scope.cell(node.name.lower(), node.table.lower()) if isinstance(node, exp.Column) else None


def _cells(node: Expr, scope: Scope) -> list[tuple[Expr, Cell]]:
    found = (
        (column, scope.cell(column.name.lower(), column.table.lower())) for column in node.find_all(exp.Column)
    )
    return [(column, cell) for column, cell in found if cell]


def _literals(node: Expr) -> Iterator[Any]:
    """What a cell might be to fit: the literals themselves, numbers beside them, texts that fit a pattern."""
    for literal in node.find_all(exp.Literal):
        if literal.is_string:
            yield literal.name
            yield literal.name.replace("%", "").replace("_", "a")
        else:
            number = (
                float(literal.name) if "." in literal.name or "e" in literal.name.lower() else int(literal.name)
            )
            yield from (sign * (number + step) for step in (0, 1, -1) for sign in (1, -1))
