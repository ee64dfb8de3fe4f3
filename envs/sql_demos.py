"""Scripted policies that ask a database, for cold starts.

A task shows how it is solved: by `info.steps`, statements that may go on from what the one before found, or else
by its gold statements. A value is read from what the last statement found, so that who is misled answers wrongly.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from agentgym.env import Demonstration
from agentgym.qa import texts
from agentgym.tool import Call

if TYPE_CHECKING:
    from agentgym.envs.sql import SqlEnv

UNKNOWN = "unknown"
"""What is answered by who has not asked: an answer that cannot be known would only teach to learn by heart."""
FOUND = "{}"
"""In a step, what the one before found."""


def demonstrate(env: SqlEnv, rng: random.Random) -> Demonstration:
    """One statement a turn, then the answer; sometimes none at all."""
    assert env.task is not None, "reset() comes first"
    question, steps = env.question, texts(env.task.info.get("steps"))
    golds = question.golds if question.answers_with == "state" else question.golds[:1]
    if rng.random() < env.config.demo_direct_rate:
        yield env.dialogue.write_answer(UNKNOWN)
        return
    found = ""
    for step in steps or golds:
        statement = step.replace(FOUND, found)
        observation = yield env.dialogue.write_calls([Call("sql", {"query": statement})])
        found = first_value(env.dialogue.read(observation)[-1])
    answers = {"query": golds[0], "value": found, "state": "done"}
    yield env.dialogue.write_answer(answers[question.answers_with])


def first_value(shown: str) -> str:
    """The first value of a result as it is shown, below the columns' names; the only line, where there is but
    one."""
    lines = shown.splitlines() or [""]
    return lines[min(1, len(lines) - 1)].partition(" | ")[0]
