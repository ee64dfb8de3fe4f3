r"""Scripted policies that solve tasks with real interpreter calls, for cold starts.

They read the interpreter's output from the observation and copy it into `\boxed{}`: the copying is what a
policy must learn, so no answer is taken from anywhere else. The texts are short, for models of any size.
"""

from __future__ import annotations

import random
import re

from agentgym.env import Demonstration
from agentgym.protocol import Dialogue
from agentgym.tool import Call
from agentgym.types import Observation, Task

_SEARCH = """\
from itertools import permutations
def f(v):
 if len(v)<2:return v[0][1]*(abs(v[0][0]-{target})<1e-9)
 for(a,x),(b,y),*r in permutations(v):
  for o in"+-*/"[:4-(b==0)]:
   if e:=f([(eval(f"{{a}}{{o}}{{b}}"),f"({{x}}{{o}}{{y}})")]+r):return e
print(f([(n,str(n))for n in{numbers}]))"""


def demonstrate(
    task: Task, dialogue: Dialogue, rng: random.Random, error_rate: float, direct_rate: float
) -> Demonstration:
    """A program and what it printed, sometimes after a misspelt one; generated tasks sometimes at once."""
    generated = "expression" in task.info or "numbers" in task.info
    if generated and rng.random() < direct_rate:
        yield dialogue.write_answer(task.answer)
        return
    code = program(task)
    observation: Observation = ""
    if rng.random() < error_rate:
        observation = yield dialogue.write_calls([_call(code.replace("print(", "prin("))])
    if not observation or "NameError" in observation:
        observation = yield dialogue.write_calls([_call(code)])
    yield dialogue.write_answer(dialogue.read(observation)[-1])


def program(task: Task) -> str:
    """A program that prints the answer. For tasks of other origin the oracle is told it, and prints that."""
    if "expression" in task.info:
        return f"print({str(task.info['expression']).replace(' ', '')})"
    if "numbers" in task.info and "target" in task.info:
        return _SEARCH.format(numbers=task.info["numbers"], target=task.info["target"])
    literal = task.answer if re.fullmatch(r"0|-?[1-9]\d*", task.answer) else repr(task.answer)
    return f"print({literal})"


def _call(code: str) -> Call:
    return Call("python", {"code": code})
