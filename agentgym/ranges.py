"""The ranges that fields of a config must keep to. None is in all of them: a field that may be None is not set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def at_least(config: object, low: float, *names: str) -> None:
    """Raises ValueError for a field below `low`."""
    _check(config, names, lambda value: value >= low, f"at least {low}")


def above(config: object, low: float, *names: str) -> None:
    """Raises ValueError for a field that is not above `low`."""
    _check(config, names, lambda value: value > low, f"above {low}")


def within(config: object, low: float, high: float, *names: str) -> None:
    """Raises ValueError for a field below `low` or above `high`."""
    _check(config, names, lambda value: low <= value <= high, f"from {low} to {high}")


def _check(config: object, names: tuple[str, ...], fits: Callable[[Any], bool], wanted: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not fits(value):
            raise ValueError(f"{name} must be {wanted}, not {value}")
