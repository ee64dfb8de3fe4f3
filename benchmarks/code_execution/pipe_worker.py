"""Bare workers, with numpy and sympy loaded: each executes the lines of its pipe, and answers what they print.

Run as `python pipe_worker.py DESCRIPTOR...`; there is a process for each, as long as its other end is open.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any

import numpy  # noqa: F401
import sympy  # noqa: F401


def serve(descriptor: int) -> None:
    """Until there are no more lines."""
    namespace: dict[str, Any] = {}
    with open(descriptor) as lines:
        for line in lines:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(json.loads(line), namespace)
            os.write(descriptor, json.dumps(printed.getvalue()).encode() + b"\n")


for number in map(int, sys.argv[1:]):
    if os.fork() == 0:
        serve(number)
        os._exit(0)
for _ in sys.argv[1:]:
    os.wait()
