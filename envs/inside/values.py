"""Values as typed JSON, and lines on stdout that carry them.

A value is JSON where JSON has the type (null, booleans, strings, floats, integers of up to 53 bits, arrays for
lists), else an object with one key, its type. A subclass counts as its base. Anything else stays where it is and
is known by its number there: {"ref": 0}.
"""

import json
import os
from collections.abc import Callable
from typing import Any

TYPES = ("int", "complex", "bytes", "tuple", "dict", "set", "frozenset", "ref")


def encode(value: Any, refer: Callable[[Any], int]) -> Any:
    """`value` as typed JSON. refer: the number of an object of another type."""
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else {"int": hex(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return [encode(item, refer) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, refer) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, refer), encode(item, refer)] for key, item in value.items()]}
    if isinstance(value, (set, frozenset)):
        kind = "set" if isinstance(value, set) else "frozenset"
        return {kind: sorted((encode(item, refer) for item in value), key=json.dumps)}
    return {"ref": refer(value)}


def decode(data: Any, resolve: Callable[[int], Any]) -> Any:
    """The value of typed JSON; raises when it is none. resolve: the object that a number stands for."""
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    ((kind, body),) = data.items()
    if kind not in TYPES:
        raise ValueError(f"{kind!r} is no type")
    if kind == "dict":
        return {decode(key, resolve): decode(item, resolve) for key, item in body}
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(item, resolve) for item in body)
    if kind == "complex":
        return complex(*body)
    if kind == "bytes":
        return bytes.fromhex(body)
    return int(body, 16) if kind == "int" else resolve(body)


def say(*words: str) -> None:
    """A line on the session's stdout, past whatever stands in the place of sys.stdout."""
    data = ("\n" + " ".join(words) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]
