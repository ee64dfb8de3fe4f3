"""How a program is tested: by code that calls it, or by what it makes of its standard input."""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from dataclasses import dataclass

from agentgym.errors import TaskError
from agentgym.types import Task

LOOKED_FOR = (
    "test and entry_point (HumanEval), test_list (MBPP), inputs and outputs for stdin and stdout (in answer, "
    "input_output, tests, public_tests, private_tests or generated_tests)"
)


@dataclass(frozen=True, slots=True)
class CallTests:
    """Python code that calls the program's names and asserts what comes back.

    given: code that the question shows, which runs before the program and before the tests. names: what of the
    program the tests call. reference: a program that passes, where there is one.
    """

    tests: str
    names: tuple[str, ...]
    given: str = ""
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class StreamTests:
    """What the program reads from stdin, and what it is to write to stdout. reference: as in CallTests."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reference: str | None = None


Tests = CallTests | StreamTests


def find_tests(task: Task) -> Tests:
    """The tests that came with a task; raises TaskError when there are none."""
    tests = task.info.get("tests")
    if isinstance(tests, CallTests | StreamTests):
        return tests
    raise TaskError(
        f"task {task.id!r} has no tests of a program. Looked for the fields {LOOKED_FOR}; "
        f"it has {', '.join(task.info) or 'none beside its question and answer'}"
    )


def call_tests(code: str, reference: str | None) -> CallTests:
    """Tests from code that names what it tests: what it reads and neither sets, imports nor finds in Python.

    Modules of the standard library that it reads are imported: such code runs behind its program's imports.
    """
    nodes = list(ast.walk(_parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    own = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {(node.asname or node.name).partition(".")[0] for node in nodes if isinstance(node, ast.alias)}
    read = [name for name in dict.fromkeys(node.id for node in names) if name not in own]
    defined = {getattr(node, "name", "") for node in _parse(reference or "").body}
    tested = [name for name in read if name in defined or not _in_python(name)]
    modules = [name for name in read if name not in tested and name in sys.stdlib_module_names]
    return CallTests("".join(f"import {name}\n" for name in modules) + code, tuple(tested), reference=reference)


def _parse(code: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such code is full of "\d"; that is no concern of ours
        return ast.parse(code)


def _in_python(name: str) -> bool:
    return hasattr(builtins, name) or name in sys.stdlib_module_names


def signatures(program: str, names: tuple[str, ...]) -> list[str]:
    """`name(arguments)` of each name as `program` defines it; the bare name where it does not."""
    found = dict.fromkeys(names, "")
    for node in _parse(program).body:
        name = getattr(node, "name", "")
        if name not in found:
            continue
        if isinstance(node, ast.FunctionDef):
            found[name] = f"({ast.unparse(node.args)})"
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    method.args.args.pop(0)
                    found[name] = f"({ast.unparse(method.args)})"
    return [name + arguments for name, arguments in found.items()]
