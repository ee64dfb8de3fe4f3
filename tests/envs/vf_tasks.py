"""verifiers environments for tests, as a package of the Environments Hub would define them."""

from __future__ import annotations

import time
from typing import Any

import verifiers as vf
from datasets import Dataset

ROWS = [{"question": f"What is {a} * 7?", "answer": str(a * 7)} for a in (3, 6, 9)]


class Guessing(vf.MultiTurnEnv):  # type: ignore[misc]
    """Says higher or lower until it hears the answer; hangs and breaks when told to."""

    async def setup_state(self, state: Any) -> None:
        state["tries"] = 0

    async def env_response(self, messages: Any, state: Any, **_: Any) -> Any:
        said = messages[-1].content
        if said == "hang":
            time.sleep(5.0)  # noqa: ASYNC251 - what it must not do
        if said == "fail":
            raise OSError("the lights went out")
        state["tries"] += 1
        right = said == state["answer"]
        word = "right" if right else "higher" if said < state["answer"] else "lower"
        reply = [vf.UserMessage(content=word)]
        if right:
            state["final_env_response"] = reply
        return reply


def right(completion: Any, answer: str, **_: Any) -> float:
    return float(any(message.content == answer for message in completion if message.role == "assistant"))


def shortness(completion: Any, **_: Any) -> float:
    return 1.0 / len(completion)


def multiply(a: int, b: int) -> int:
    """Multiply.

    Args:
        a: one
        b: other
    """
    return a * b


def load_environment(kind: str = "guessing", rows: int = 3) -> Any:
    rubric = vf.Rubric(funcs=[right, shortness], weights=[1.0, 0.5])
    data = Dataset.from_list(ROWS[:rows])
    if kind == "single":
        return vf.SingleTurnEnv(dataset=data, rubric=rubric, system_prompt="Be brief.")
    if kind == "tool":
        return vf.ToolEnv(dataset=data, rubric=rubric, tools=[multiply], max_turns=4)
    return Guessing(dataset=data, rubric=rubric, max_turns=4)
