"""What docs/memory.md tells to type is understood."""

from __future__ import annotations

import re
import shlex

import pytest

from agentgym.config import parse_overrides
from agentgym.protocols.memory_r1 import read_answered, read_operations
from agentgym.run import resolve_settings

from .tutorial import ROOT, steps

TEXT = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
RUNS = [text for _, text in steps("memory.md") if re.match(r"agentgym (train|eval|rollout) ", text)]


@pytest.mark.parametrize("line", RUNS)
def test_a_run(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True)[2:] if word != "--demo"]
    assert resolve_settings(parse_overrides(words), []).env


def test_the_tasks() -> None:
    told = re.findall(r"^\| `'?(streams|\{name=.*\})'?` \|", TEXT, re.MULTILINE)
    assert len(told) == 3
    for tasks in told:
        assert resolve_settings(parse_overrides(["env=memory", f"env.tasks={tasks}"]), []).env


def test_what_agents_write() -> None:
    [operations] = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert [operation.id for operation in read_operations(operations)] == [1]
    [answer] = re.findall(r"^<memories>.*?^</answer>$", TEXT, re.MULTILINE | re.DOTALL)
    assert (read_answered(answer).selected, read_answered(answer).answer) == ((1,), "Nis")
