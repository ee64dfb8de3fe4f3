"""What a request asks for; raises Problem where it does not say so properly."""

from __future__ import annotations

import re

from starlette.requests import Request

from agentgym.sandboxes.remote.wire import REQUEST_ID
from agentgym.serving.problem import Problem


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
