"""The tests, in a session where the program never is: their calls are answered from a list, and the first that the
list does not have is reported instead. Without a list, every call that depends on no answer is."""

import ast
import builtins
import contextlib
import json
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentgym.envs.inside.values import decode, encode, say


class Pending(BaseException):
    """The tests made a call that has no outcome yet."""


class NoAnswer(Exception):
    """A call that the program did not answer."""


class Replay:
    """The outcomes known so far, those of equal calls in their order, and what the tests have come to."""

    def __init__(self, answers: list[tuple[str, str | None]] | None) -> None:
        self.foreseeing = answers is None
        self.answers: dict[str, list[str | None]] = {}
        for call, outcome in reversed(answers or []):
            self.answers.setdefault(call, []).append(outcome)
        self.cases: list[bool] = []
        self.calls: list[str] = []
        self.unanswered = False

    def ask(self, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What the program makes of a call; raises what it raised."""
        call = json.dumps(encode([target, args, kwargs], number_of))
        known = self.answers.get(call)
        if not known:
            self.calls.append(call)
            if self.foreseeing:
                return Ref(self, None)
            raise Pending
        try:
            return self.receive(known.pop(), args)
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

    def ref(self, number: int) -> "Ref":
        return Ref(self, number)


def put_back(argument: Any, after: Any) -> None:
    """Make a list, dictionary or set what the program made of it."""
    if type(argument) is type(after) is list:
        argument[:] = after
    elif type(argument) is type(after) and isinstance(argument, (dict, set)):
        argument.clear()
        argument.update(after)


def number_of(value: Any) -> int:
    """The number of a Ref: tests can pass on no other object, and nothing that is not known yet."""
    if type(value) is not Ref:
        raise TypeError(f"the tests pass a {type(value).__name__}, which cannot go to another session")
    number: int | None = object.__getattribute__(value, "number")
    if number is None:
        raise NoAnswer
    return number


def refuse(*_: Any) -> Any:
    raise NotImplementedError("an object of the program's own class has no value here")


class Ref:
    """An object in the program's session, or an answer not known yet (number None): its attributes and methods are
    reached by calls, it has no value."""

    __slots__ = ("number", "replay")
    __eq__ = __bool__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = refuse

    def __init__(self, replay: Replay, number: int | None) -> None:
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


def replay(
    nonce: str, given: str, tests: str, names: list[str], answers: list[tuple[str, str | None]] | None
) -> None:
    """Run the tests and report their cases, whether they came to their end, and the calls that have no answer: the
    first, or, where answers is None, all that can be foreseen."""
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
    report = {"cases": state.cases, "ended": ended, "error": error, "calls": state.calls}
    say(nonce, "0", json.dumps(report))
