"""What docs/sql_tasks.md tells to type is understood."""

from __future__ import annotations

import random
import re
import shlex
from typing import get_args

import pytest

from agentgym.config import build, parse_overrides, parse_value
from agentgym.envs.ledgers.questions import Level
from agentgym.envs.tasks.ledgers import Ledgers
from agentgym.run import resolve_settings

from .tutorial import ROOT, steps

TEXT = (ROOT / "docs" / "sql_tasks.md").read_text(encoding="utf-8")
LINES = [line for name, text in steps("sql_tasks.md") if name == "sh" for line in text.splitlines()]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("agentgym ")])
def test_a_run(line: str) -> None:
    words = [word for word in shlex.split(line)[2:] if not word.startswith("model=")]
    settings = resolve_settings(parse_overrides(words), [])
    assert build("env", settings.env).source().path.endswith(".json")


def test_the_defaults_of_tasks() -> None:
    told = dict(re.findall(r"^\| `(\w+)='?([^'`]+)'?` \|", TEXT, re.MULTILINE))
    assert len(told) == 7
    tasks = {"name": "ledgers", **{key: parse_value(value) for key, value in told.items()}}
    assert build("env", {"name": "sql", "tasks": tasks}).source() == Ledgers() == build("env", "sql").source()


def test_the_levels() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert tuple(level for level, _, _ in rows) == get_args(Level)
    for level, question, _ in rows:
        (task,) = Ledgers(levels=[level]).draw(1, random.Random(0), "all")
        assert (
            re.sub(r"[A-Z]\w{3}\b", "X", str(task.prompt)).split()[0]
            == re.sub(r"[A-Z]\w{3}\b", "X", question).split()[0]
        )
