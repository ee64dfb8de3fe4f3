"""The ranges of configs' fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agentgym.ranges import above, at_least, within


@dataclass(frozen=True)
class Config:
    turns: int = 1
    seconds: float = 0.5
    rate: float | None = None


def complaint(check: Callable[..., None], *arguments: Any) -> str:
    try:
        check(*arguments)
    except ValueError as error:
        return str(error)
    return ""


def test_what_keeps_to_its_range_passes() -> None:
    assert complaint(at_least, Config(), 1, "turns", "rate") == ""
    assert complaint(above, Config(), 0, "turns", "seconds", "rate") == ""
    assert complaint(within, Config(), 0, 1, "turns", "seconds", "rate") == ""
    assert complaint(within, Config(rate=0.0), 0, 1, "rate") == ""


def test_what_does_not_is_named_with_its_value() -> None:
    with pytest.raises(ValueError, match=r"^turns must be at least 1, not 0$"):
        at_least(Config(turns=0), 1, "rate", "turns")
    with pytest.raises(ValueError, match=r"^seconds must be above 0, not 0\.0$"):
        above(Config(seconds=0.0), 0, "seconds")
    with pytest.raises(ValueError, match=r"^rate must be from 0 to 1, not 1\.5$"):
        within(Config(rate=1.5), 0, 1, "turns", "rate")


def test_what_is_no_number_is_in_no_range() -> None:
    nothing = Config(seconds=math.nan)
    for check in (lambda: at_least(nothing, 0, "seconds"), lambda: above(nothing, 0, "seconds")):
        with pytest.raises(ValueError, match="not nan"):
            check()
    with pytest.raises(ValueError, match="not nan"):
        within(nothing, 0, 1, "seconds")
