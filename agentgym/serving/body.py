"""The body of a request; raises Problem where it is not what was asked for."""

from __future__ import annotations

import asyncio
import json
from typing import TypeVar

import msgspec
from starlette.requests import Request

from agentgym.serving.problem import Problem

T = TypeVar("T")

SECONDS = 60.0
"""For a body to arrive."""


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes."""
    data = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > limit:
                    raise Problem("too_large", f"a request may have {limit} bytes here")
    except TimeoutError as error:
        raise Problem("request", f"the body did not arrive within {SECONDS:g} s") from error
    return bytes(data)


async def read_body(request: Request, limit: int, kind: type[T]) -> T:
    """The body as a `kind`."""
    try:
        return msgspec.convert(json.loads(await read_bytes(request, limit)), kind)  # json: takes lone surrogates
    except (ValueError, RecursionError) as error:
        raise Problem("request", f"the body is not what was expected: {error}") from error
