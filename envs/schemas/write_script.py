"""A database as a script that makes it again."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from agentgym.database import quoted
from agentgym.envs.schemas.schema import Connection, Schema


def write_script(schema: Schema, connection: Connection) -> str:
    """The statements that make the tables and their rows."""
    lines = [f"{statement};" for statement in schema.script]
    for table in schema.tables.values():
        rows = connection.execute(f"select * from {quoted(table.name)}").fetchall()
        if rows:
            values = ",\n".join(f"({', '.join(map(_literal, row))})" for row in rows)
            lines.append(f"insert into {quoted(table.name)} values\n{values};")
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool() | int() | Decimal():
            return str(value)
        case float():
            return repr(value)
        case bytes():
            return f"X'{value.hex()}'"
        case datetime.datetime():
            value = value.isoformat(" ")
    return "'" + str(value).replace("'", "''") + "'"
