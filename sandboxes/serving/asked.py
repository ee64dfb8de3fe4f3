"""What a request asks for; raises Problem where it does not say so properly."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from agentgym.sandboxes.remote.wire import REQUEST_ID, Problem

T = TypeVar("T")

BODY_SECONDS = 60.0
"""For a request's body to arrive."""


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > limit:
                    raise Problem("too_large", f"a request may have {limit} bytes here")
    except TimeoutError as error:
        raise Problem("request", f"the body did not arrive within {BODY_SECONDS:g} s") from error
    return bytes(data)


async def read_body(request: Request, limit: int, kind: type[T]) -> T:
    """The body as a `kind`."""
    try:
        return msgspec.convert(json.loads(await read_bytes(request, limit)), kind)  # json: takes lone surrogates
    except (ValueError, RecursionError) as error:
        raise Problem("request", f"the body is not what was expected: {error}") from error


def request_id(request: Request) -> str:
    """The id that the client gave the request."""
    id = request.headers.get(REQUEST_ID, "")
    if not re.fullmatch(r"[\w-]{8,64}", id):
        raise Problem("request", f"{REQUEST_ID}: 8 to 64 letters, digits, - and _ are needed, not {id!r}")
    return id


def file_path(request: Request) -> str:
    """The path asked for."""
    path = request.query_params.get("path", "")
    if not path:
        raise Problem("request", "?path= says which file")
    return path
