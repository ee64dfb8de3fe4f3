"""Calls of actors that may be lost meanwhile."""

from __future__ import annotations

import asyncio
import textwrap
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from agentgym.errors import ClusterError

WORDS = 120
"""Letters of what ray says of a loss; the rest is for its own logs."""


class Lost(ClusterError):
    """The actor died, its machine did, or what it answered was lost with it."""


async def answer(call: Any) -> Any:
    """What a call gives. Raises what it raised, and Lost. Who stops waiting cancels the call."""
    try:
        return await call
    except asyncio.CancelledError:
        ray.cancel(call)
        raise
    except RayTaskError as error:
        raise error.cause from error
    except (RayActorError, ObjectLostError, NodeDiedError, WorkerCrashedError) as error:
        raise Lost(_reason(error)) from error


def _reason(error: Exception) -> str:
    """In a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("The actor is dead because")), "")
    return textwrap.shorten(told or (lines[0] if lines else type(error).__name__), WORDS)
