"""How often something may be begun."""

from __future__ import annotations

from aiolimiter import AsyncLimiter


def pace(rate: float) -> AsyncLimiter:
    """Lets through so many a second; one below 1 as one in so many seconds, for a limiter holds nothing less."""
    return AsyncLimiter(max(rate, 1.0), max(1.0, 1.0 / rate))
