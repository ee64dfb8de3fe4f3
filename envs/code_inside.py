"""What runs inside grading sessions: calls and results as typed JSON, and the two sides that speak it.

Sent as text, so it uses the standard library only. In one session `Candidate` holds the program that is graded and
answers calls. In another, which never holds that program, `replay` runs the tests: their calls are answered from a
list, and the first that the list does not have is reported instead.

A value is JSON where JSON has the type (null, booleans, strings, floats, integers of up to 53 bits, arrays for
lists), else an object with one key, its type. A subclass counts as its base. Anything else stays where it is and
is known by its number there: {"ref": 0}.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import os
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

TYPES = ("int", "complex", "bytes", "tuple", "dict", "set", "frozenset", "ref")


def encode(value: Any, refer: Callable[[Any], int]) -> Any:
    """`value` as typed JSON. refer: the number of an object of another type."""
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else {"int": hex(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return [encode(item, refer) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, refer) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, refer), encode(item, refer)] for key, item in value.items()]}
    if isinstance(value, (set, frozenset)):
        kind = "set" if isinstance(value, set) else "frozenset"
        return {kind: sorted((encode(item, refer) for item in value), key=json.dumps)}
    return {"ref": refer(value)}


def decode(data: Any, resolve: Callable[[int], Any]) -> Any:
    """The value of typed JSON; raises when it is none. resolve: the object that a number stands for."""
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    ((kind, body),) = data.items()
    if kind not in TYPES:
        raise ValueError(f"{kind!r} is no type")
    if kind == "dict":
        return {decode(key, resolve): decode(item, resolve) for key, item in body}
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(item, resolve) for item in body)
    if kind == "complex":
        return complex(*body)
    if kind == "bytes":
        return bytes.fromhex(body)
    return int(body, 16) if kind == "int" else resolve(body)


def say(*words: str) -> None:
    """A line on the session's stdout, past whatever stands in the place of sys.stdout."""
    data = ("\n" + " ".join(words) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]


class Candidate:
    """The program under test, loaded once. given: code from the question, which runs before it."""

    def __init__(self, given: str, program: str) -> None:
        self.objects: list[Any] = []
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the session
        sys.modules["program"] = module = ModuleType("program")
        self.names = module.__dict__
        self.names.update(getattr=getattr, setattr=setattr)
        for name, code in (("given", given), ("program", program)):
            exec(compile(code, name, "exec", dont_inherit=True), self.names)

    def answer(self, nonce: str, calls: list[str]) -> None:
        """Report the outcome of each call as soon as it is there: nonce, index, outcome."""
        for index, call in enumerate(calls):
            say(nonce, str(index), json.dumps(self.outcome(*json.loads(call))))

    def outcome(self, target: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """The value, and the arguments afterwards; or the exception's built-in class and text."""
        try:
            function, given, named = decode([target, args, kwargs], self.objects.__getitem__)
            value = (self.names[function] if isinstance(function, str) else function)(*given, **named)
            return {"value": encode(value, self.refer), "args": encode(given, self.refer)}
        except Exception as error:
            known = (cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "builtins")
            return {"raised": next(known), "text": str(error)[:500]}

    def refer(self, value: Any) -> int:
        for number, known in enumerate(self.objects):
            if known is value:
                return number
        self.objects.append(value)
        return len(self.objects) - 1


class Pending(BaseException):
    """The tests made a call that has no outcome yet."""


class NoAnswer(Exception):
    """A call that the program did not answer."""


class Replay:
    """The outcomes known so far, in the order of the calls, and what the tests have come to."""

    def __init__(self, answers: list[tuple[str, str | None]]) -> None:
        self.answers = answers
        self.cases: list[bool] = []
        self.calls = 0
        self.pending: str | None = None
        self.unanswered = False

    def ask(self, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What the program makes of a call; raises what it raised."""
        call = json.dumps(encode([target, args, kwargs], number_of))
        index, self.calls = self.calls, self.calls + 1
        if index >= len(self.answers) or self.answers[index][0] != call:
            self.pending = call
            raise Pending
        try:
            return self.receive(self.answers[index][1], args)
        except NoAnswer:
            self.unanswered = True
            raise

    def receive(self, text: str | None, args: list[Any]) -> Any:
        """The value in an outcome, which may be any text: the program can write its own."""
        try:
            outcome = json.loads(text or "null")
            if "raised" in outcome:
                cls = getattr(builtins, outcome["raised"])
                raised = cls.__new__(cls, str(outcome["text"])) if issubclass(cls, Exception) else NoAnswer()
            else:
                raised, value = None, decode(outcome["value"], self.ref)
                for argument, after in zip(args, decode(outcome["args"], self.ref), strict=True):
                    put_back(argument, after)
        except Exception as error:
            raise NoAnswer from error
        if raised is not None:
            raise raised
        return value

    def ref(self, number: int) -> Ref:
        return Ref(self, number)


def put_back(argument: Any, after: Any) -> None:
    """Make a list, dictionary or set what the program made of it."""
    if type(argument) is type(after) is list:
        argument[:] = after
    elif type(argument) is type(after) and isinstance(argument, (dict, set)):
        argument.clear()
        argument.update(after)


def number_of(value: Any) -> int:
    """The number of a Ref: tests can pass on no other object."""
    if type(value) is not Ref:
        raise TypeError(f"the tests pass a {type(value).__name__}, which cannot go to another session")
    number: int = object.__getattribute__(value, "number")
    return number


def refuse(*_: Any) -> Any:
    raise NotImplementedError("an object of the program's own class cannot be compared here")


class Ref:
    """An object in the program's session: its attributes and methods are reached by calls, it has no value."""

    __slots__ = ("number", "replay")
    __eq__ = __ne__ = __bool__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = refuse

    def __init__(self, replay: Replay, number: int) -> None:
        object.__setattr__(self, "replay", replay)
        object.__setattr__(self, "number", number)

    def __getattr__(self, name: str) -> Any:
        return self.replay.ask("getattr", [self, name], {})

    def __setattr__(self, name: str, value: Any) -> None:
        self.replay.ask("setattr", [self, name, value], {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.replay.ask(self, list(args), kwargs)


class CountAsserts(ast.NodeTransformer):
    """Makes every assert one case that holds or not; those behind it are tried all the same."""

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        if isinstance(node.test, ast.Constant) and node.test.value:
            return node
        (counted,) = ast.parse("try: ...\nexcept Exception: __case__(False)\nelse: __case__(True)").body
        assert isinstance(counted, ast.Try)
        counted.body = [ast.copy_location(ast.Assert(node.test, None), node)]
        return ast.copy_location(counted, node)


def replay(nonce: str, given: str, tests: str, names: list[str], answers: list[tuple[str, str | None]]) -> None:
    """Run the tests and report the cases and whether they came to their end, or the call that they wait for and
    its place among the calls."""
    state = Replay(answers)
    random.seed(0)

    def stub(name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: state.ask(name, list(args), kwargs)

    scope: dict[str, Any] = {"__name__": "tests", "__case__": state.cases.append}
    ended, error = False, ""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            exec(compile(given, "given", "exec", dont_inherit=True), scope)
            scope.update({name: stub(name) for name in names})
            tree = ast.fix_missing_locations(CountAsserts().visit(ast.parse(tests)))
            exec(compile(tree, "tests", "exec", dont_inherit=True), scope)
            ended = not state.unanswered
        except Pending:
            pass
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"[:500]
    report = {
        "cases": state.cases,
        "ended": ended,
        "error": error,
        "pending": state.pending,
        "at": state.calls - 1,
    }
    say(nonce, "0", json.dumps(report))
