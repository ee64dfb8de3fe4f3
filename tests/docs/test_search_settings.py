"""What docs/search.md tells to type is understood."""

from __future__ import annotations

import re
import shlex

import pytest

from agentgym.config import build, parse_overrides, parse_value
from agentgym.envs.tasks.fictional import Fictional
from agentgym.run import resolve_settings

from .tutorial import ROOT, steps

TEXT = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
LINES = [line for name, text in steps("search.md") if name == "sh" for line in text.splitlines()]
RUNS = [line for line in LINES if re.match(r"agentgym (train|eval|rollout) ", line)]


@pytest.mark.parametrize("line", RUNS)
def test_a_run(line: str) -> None:
    filled = line.replace("model=...", "model=nano-search").replace("env.tasks=...", "env.tasks=questions.jsonl")
    words = [word for word in shlex.split(filled, comments=True)[2:] if word != "--demo"]
    assert resolve_settings(parse_overrides(words), []).env


def test_the_recipes() -> None:
    recipes = re.findall(r"^\| `(\w+)` \|(?: \d{4}\.\d{5})? \|", TEXT, re.MULTILINE)
    assert {"search", "search_r1", "med_r3"} <= set(recipes)
    for name in recipes:
        assert resolve_settings({"recipe": name, "env": "search"}, []).recipe == name


def test_the_defaults_of_tasks() -> None:
    told = dict(re.findall(r"^\| `(\w+)='?([^'`]+)'?` \|", TEXT, re.MULTILINE))
    assert len(told) == 5
    env = {
        "name": "search",
        "tasks": {"name": "fictional", **{key: parse_value(value) for key, value in told.items()}},
    }
    assert build("env", env).source() == Fictional()
