"""Messages between the host and the processes of databases: four bytes of length (big-endian), then
MessagePack."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from agentgym.database import Row, Table, Value

HEAD = 4
PLAIN = (type(None), bool, float, str, bytes)
SMALL = 1 << 63
Code = tuple[Callable[[Any], str], Callable[[str], Value]]
CODES: dict[type, Code] = {  # in the order of their numbers
    int: (str, int),
    Decimal: (str, Decimal),
    datetime.datetime: (datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: (datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.timedelta: (
        lambda span: str(span // datetime.timedelta(microseconds=1)),
        lambda text: datetime.timedelta(microseconds=int(text)),
    ),
}
NUMBERS = {kind: number for number, kind in enumerate(CODES)}
READERS = [read for _, read in CODES.values()]


def frame(message: Mapping[str, Any]) -> bytes:
    """A message, ready to be sent."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(HEAD, "big") + data


def unframe(data: bytes) -> dict[str, Any]:
    """What `frame` was given; `data` is without the length."""
    message: dict[str, Any] = msgspec.msgpack.decode(data, ext_hook=_read)
    return message


def write_table(table: Table) -> dict[str, Any]:
    """A table as part of a message. What is no `Value` (lists, structs, UUIDs) is told in words."""
    rows = [[_write(value) for value in row] for row in table.rows]
    return {"columns": table.columns, "rows": rows, "truncated": table.truncated}


def read_table(told: dict[str, Any]) -> Table:
    """The table in a message."""
    rows: tuple[Row, ...] = tuple(map(tuple, told["rows"]))
    return Table(tuple(told["columns"]), rows, told["truncated"])


def _write(value: Any) -> Any:
    kind = type(value)
    if kind in PLAIN or (kind is int and -SMALL <= value < SMALL):
        return value
    if kind not in CODES:
        return str(value)
    return msgspec.msgpack.Ext(NUMBERS[kind], CODES[kind][0](value).encode())


def _read(number: int, data: memoryview) -> Value:
    return READERS[number](bytes(data).decode())
