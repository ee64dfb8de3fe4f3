from __future__ import annotations

import pytest

from agentgym.database import Table
from agentgym.errors import ConfigError, ToolError
from agentgym.services import Services
from agentgym.tool import Tool, ToolContext
from agentgym.tooling.load import toolset
from agentgym.tools.sql import MORE, render

NUMBERS = """
CREATE TABLE t AS
WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 30) SELECT i FROM r
"""


async def open_sql(services: Services, **fields: object) -> tuple[Tool, ToolContext]:
    [tool] = await toolset({"name": "sql", **fields}).open(services)
    return tool, ToolContext(services)


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
async def test_what_a_policy_sees(services: Services, dialect: str) -> None:
    tool, context = await open_sql(services, database={"dialect": dialect, "script": NUMBERS}, max_rows=3)
    said = {
        "SELECT i, NULL AS missing, 'a' AS text FROM t WHERE i < 3 ORDER BY i": (
            "i | missing | text\n1 | NULL | a\n2 | NULL | a"
        ),
        "SELECT i FROM t ORDER BY i": f"i\n1\n2\n3\n{MORE}",
        "SELECT i FROM t WHERE i > 99": "i\n(no rows)",
        "```sql\nDELETE FROM t WHERE i > 28;\n```": "Count\n2",
        "CREATE INDEX x ON t (i)": "(done)",
    }
    for query, output in said.items():
        assert await tool.call({"query": query}, context) == output
    with pytest.raises(ToolError, match=r"LINE 1: SELECT j FROM t\n +\^"):
        await tool.call({"query": "SELECT j FROM t"}, context)
    await tool.close()


def test_long_values_are_cut() -> None:
    table = Table(("a", "b"), (("x" * 9, b"\x01" * 9),))
    assert render(table, 5) == "a | b\nxxxxx... | x'010..."


async def test_a_fork_has_the_same_open_transaction(services: Services) -> None:
    tool, context = await open_sql(services, database={"dialect": "sqlite", "script": NUMBERS})
    for query in ("BEGIN", "DELETE FROM t WHERE i > 5"):
        await tool.call({"query": query}, context)
    twin = await tool.fork()
    await twin.call({"query": "ROLLBACK"}, context)
    counts = [await one.call({"query": "SELECT count(*) AS n FROM t"}, context) for one in (tool, twin)]
    assert counts == ["n\n5", "n\n30"]
    await tool.close()
    await twin.close()


async def test_nothing_can_be_changed_where_only_reading_is_allowed(services: Services) -> None:
    tool, context = await open_sql(services, access="read")
    with pytest.raises(ToolError, match="not allowed here"):
        await tool.call({"query": "CREATE TABLE t (a)"}, context)
    await tool.close()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"max_rows": 0}, "max_rows must be above 0"),
        ({"seconds": -1}, "seconds must be above 0"),
        ({"access": "all"}, "access: unknown 'all'"),
        ({"database": {"dialect": "oracle"}}, "dialect: unknown 'oracle'"),
    ],
)
def test_wrong_settings_are_told_before_anything_runs(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises((ConfigError, Exception), match=complaint):
        toolset({"name": "sql", **fields})


@pytest.mark.parametrize("access", ["read", "transaction"])
@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
async def test_a_fork_draws_the_same_random_numbers(services: Services, dialect: str, access: str) -> None:
    tool, context = await open_sql(services, database={"dialect": dialect}, access=access)
    draw = {"query": "SELECT random()"}
    first = await tool.call(draw, context)
    twin = await tool.fork()
    second = [await one.call(draw, context) for one in (tool, twin)]
    assert second[0] == second[1] != first
    await tool.close()
    await twin.close()
