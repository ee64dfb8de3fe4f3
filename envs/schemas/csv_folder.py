"""A folder of .csv files as a database."""

from __future__ import annotations

from pathlib import Path

from agentgym.database import Dialect, quoted
from agentgym.envs.schemas.read_schema import read_schema
from agentgym.envs.schemas.schema import connect, errors
from agentgym.envs.schemas.write_script import write_script
from agentgym.errors import TaskError


def read_csv_folder(folder: Path, dialect: Dialect) -> str:
    """The script of a database with a table for each file, whose columns' types are found by DuckDB. Raises
    TaskError."""
    connection = connect("duckdb")
    try:
        for file in sorted(folder.glob("*.csv")):
            connection.execute(f"create table {quoted(file.stem)} as select * from read_csv(?)", [str(file)])
        return write_script(read_schema(connection, "duckdb"), connection)
    except errors("duckdb") as error:
        raise TaskError(f"{folder}: no tables: {error}") from error
    finally:
        connection.close()
