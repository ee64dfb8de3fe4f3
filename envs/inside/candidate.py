"""The program under test, in a session that has nothing else: it is given calls and reports what came of them."""

import json
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentgym.envs.inside.values import decode, encode, say


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
