"""The environment for programs: its settings, and how an answer is read."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.config import build
from agentgym.envs.code import last_program
from agentgym.errors import ConfigError

RIGHT = "def double(x):\n    return 2 * x"


def answer(program: str) -> str:
    return f"I am sure.\n<answer>\n```python\n{program}\n```\n</answer>"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (answer(RIGHT), RIGHT),
        (f"<answer>{RIGHT}</answer>", RIGHT),
        (answer("x = 1") + answer(RIGHT), RIGHT),
        (f"```python\n{RIGHT}\n```", None),
        (f"<answer>\n{RIGHT}", None),
        ("<answer></answer>", None),
        ("</answer>", None),
        ("", None),
    ],
)
def test_the_answer_is_what_the_last_answer_tags_hold(text: str, program: str | None) -> None:
    assert last_program(text) == program


@pytest.mark.parametrize("field", [{"grading_timeout": 0}, {"reward": "some"}, {"max_turns": 0}])
def test_wrong_settings_are_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        build("env", {"name": "code", **field})
