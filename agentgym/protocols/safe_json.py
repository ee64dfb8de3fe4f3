"""JSON that a policy wrote, read so that nothing in it surprises whoever gets it."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 100
_SPACE = " \t\r\n"


class BadJson(ValueError):
    """No acceptable JSON. The text says why, and repeats nothing of what was read."""


def read_json(text: str) -> Any:
    """The value that `text` is.

    Raises BadJson, also for what Python would take or choke on: NaN, infinities, a key given twice, half a
    surrogate pair, over 100 levels, integers of thousands of digits.
    """
    value, rest = read_leading_json(text)
    if rest.strip(_SPACE):
        raise BadJson(f"there is more text after the value's end, at character {len(text) - len(rest)}")
    return value


def read_leading_json(text: str) -> tuple[Any, str]:
    """The value that `text` begins with, and the text after it. Raises BadJson."""
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except BadJson:
        raise
    except json.JSONDecodeError as error:
        raise BadJson(f"{error.msg}, at character {error.pos}") from None
    except RecursionError:
        raise BadJson(f"it is nested over {MAX_DEPTH} levels deep") from None
    except ValueError:
        raise BadJson("an integer has too many digits") from None
    if not _is_plain(text):
        _check(value, 0)
    return value, text[end:]


def write_json(value: Any) -> str:
    """`value` on one line, in which no closing tag and no `<|special|>` token can stand."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return re.sub("<(?=[/|])", r"\\u003c", text)


def _is_plain(text: str) -> bool:
    """Whether nothing in `text` can be a surrogate or too deep; told at once, where a walk over the value takes
    long."""
    return text.isascii() and "\\u" not in text and text.count("{") + text.count("[") <= MAX_DEPTH


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadJson(f"it is nested over {MAX_DEPTH} levels deep")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadJson("a string holds half of a surrogate pair") from None
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadJson("an object has the same key twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadJson("a number is too large")
    return number


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_constant)
