"""A peer's Python tool, in an environment of its own: `python peer.py NAME`.

Each line of stdin asks for a measurement, `{"code": ..., "output": ..., "lanes": n, "seconds": s}`; the answer is
`{"seconds": [...], "wall": s}`. The tools block, so a lane is a thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TIMEOUT = 120  # seconds, where the tool lets us say so
Tool = Callable[[str], str]
"""Runs a program; what it printed."""


def skyrl_gym() -> Tool:
    from skyrl_gym.tools import PythonCodeExecutorToolGroup

    tool: Tool = PythonCodeExecutorToolGroup(timeout=TIMEOUT).get_tool("python")
    return tool


def gem_llm() -> Tool:
    from gem.tools.python_code_tool import PythonCodeTool
    from gem.utils import sandbox

    sandbox.subprocess_run.__defaults__ = (None, TIMEOUT)  # which the tool's own never reaches
    tool = PythonCodeTool(timeout=TIMEOUT)

    def run(code: str) -> str:
        observation: str = tool.execute_action(f"<python>{code}</python>")[2]
        return observation.removeprefix("Code execution result: ")

    return run


def smolagents() -> Tool:
    from smolagents.local_python_executor import LocalPythonExecutor

    executor = LocalPythonExecutor(["numpy", "sympy"])
    executor.send_tools({})

    def run(code: str) -> str:
        logs: str = executor(code).logs
        return logs

    return run


TOOLS = {"skyrl-gym": skyrl_gym, "gem-llm": gem_llm, "smolagents": smolagents}


def lane(tool: Tool, asked: dict[str, Any], end: float) -> list[float]:
    """Seconds of each call, until the time is up."""
    taken: list[float] = []
    while not taken or time.perf_counter() < end:
        started = time.perf_counter()
        printed = tool(asked["code"])
        taken.append(time.perf_counter() - started)
        if printed.strip() != asked["output"]:
            raise RuntimeError(f"the program printed {printed[:500]!r}")
    return taken


def main() -> None:
    """Answer until nothing more is asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    make = TOOLS[sys.argv[1]]
    tools = [make()]
    for line in sys.stdin:
        asked = json.loads(line)
        tools += [make() for _ in range(asked["lanes"] - len(tools))]
        used = tools[: asked["lanes"]]
        used[0](asked["code"])  # the first one imports modules
        with ThreadPoolExecutor(len(used)) as pool:
            started = time.perf_counter()
            end = started + asked["seconds"]
            lanes = [pool.submit(lane, tool, asked, end) for tool in used]
            taken = [each for done in lanes for each in done.result()]
            wall = time.perf_counter() - started
        print(json.dumps({"seconds": taken, "wall": wall}), file=answers, flush=True)


if __name__ == "__main__":
    main()
