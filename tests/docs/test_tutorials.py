"""The tutorials, followed to the letter with the installed wheel, and what they promise."""

from __future__ import annotations

import re

import pytest

from .tutorial import Shell, steps

pytestmark = pytest.mark.slow


def follow(shell: Shell, tutorial: str) -> dict[str, str]:
    """What each command printed."""
    printed: dict[str, str] = {}
    for name, text in steps(tutorial):
        if name == "sh":
            printed[text] = shell.run(text)
        else:
            (shell.folder / name).write_text(text)
    return printed


def success(printed: str) -> float:
    """Of an evaluation's table."""
    found = re.search(r"success\)\s*│?\s*([\d.]+)", printed)
    assert found, printed
    return float(found[1])


def test_a_policy_learns_to_use_the_first_tool_and_lives_by_it(shell: Shell) -> None:
    printed = follow(shell, "first_tool.md")
    assert "FAIL" not in "".join(printed.values())
    demo = next(text for command, text in printed.items() if command.endswith("--demo"))
    assert "success" in demo
    assert "parcel_tracker (" in printed["agentgym list tools"]
    right, lying = (success(printed[command]) for command in printed if command.startswith("agentgym eval"))
    assert right >= 0.65
    assert lying <= 0.1


def test_the_first_environment(shell: Shell) -> None:
    printed = follow(shell, "first_environment.md")
    assert "FAIL" not in "".join(printed.values())
    assert printed["python play.py"].strip().splitlines()[0] in ("higher", "lower")
