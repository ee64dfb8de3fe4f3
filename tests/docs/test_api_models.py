"""What docs/api_models.md tells to type is understood."""

from __future__ import annotations

import re
import shlex

import pytest

from agentgym.config import build, parse_overrides
from agentgym.engines.openai import Openai
from agentgym.run import resolve_settings

from .tutorial import ROOT, steps

TEXT = (ROOT / "docs" / "api_models.md").read_text(encoding="utf-8")
LINES = [line for name, text in steps("api_models.md") if name == "sh" for line in text.splitlines()]
OPTIONS = re.compile(r" -[nk] \d+| --save \S+| --json")


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("agentgym ")])
def test_a_run(line: str) -> None:
    words = shlex.split(OPTIONS.sub("", line))[2:]
    assert isinstance(build("engine", resolve_settings(parse_overrides(words), []).engine), Openai)


def test_the_settings_exist_and_have_the_defaults_that_are_told() -> None:
    engine = Openai()
    for name in set(re.findall(r"engine\.(\w+)", TEXT)) - {"name"}:
        assert hasattr(engine, name)
    for name, value in re.findall(r"`engine\.(\w+)` \((\d+)\)", TEXT):
        assert getattr(engine, name) == float(value)
    for setting in re.findall(r"^\| `(engine\.\S+=.*?)` \|", TEXT, re.MULTILINE):
        table = parse_overrides([setting])["engine"]
        assert build("engine", {"name": "openai", **table})
