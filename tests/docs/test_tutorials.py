"""The tutorials, followed to the letter with the installed wheel, and what they promise."""

from __future__ import annotations

import re

import pytest

from .tutorial import Shell, steps

TUTORIALS = ("first_tool.md", "first_environment.md")
SHORT = "stages.cold_start.steps=1 stages.cold_start.pool=8 stages.rl.steps=1 batch_size=2 eval_tasks=2"


def shortened(command: str) -> str:
    """A command that ends soon; what it shows of learning is for the slow test."""
    if command.startswith("agentgym train"):
        kept = [word for word in command.split(" ") if not word.startswith("stages.")]
        return " ".join([*kept, SHORT])
    return re.sub(r"-n \d+", "-n 2", command)


def follow(shell: Shell, tutorial: str, short: bool) -> dict[str, str]:
    """What each command printed."""
    printed: dict[str, str] = {}
    for name, text in steps(tutorial):
        if name == "sh":
            printed[text] = shell.run(shortened(text) if short else text)
        else:
            (shell.folder / name).write_text(text)
    return printed


def success(printed: str) -> float:
    """Of an evaluation's table."""
    found = re.search(r"success\)\s*│?\s*([\d.]+)", printed)
    assert found, printed
    return float(found[1])


def test_the_first_tool(shell: Shell) -> None:
    printed = follow(shell, "first_tool.md", short=True)
    assert "FAIL" not in "".join(printed.values())
    demo = next(text for command, text in printed.items() if command.endswith("--demo"))
    assert "success" in demo
    assert "parcel_tracker (" in printed["agentgym list tools"]


def test_the_first_environment(shell: Shell) -> None:
    printed = follow(shell, "first_environment.md", short=True)
    assert "FAIL" not in "".join(printed.values())
    assert printed["python play.py"].strip().splitlines()[0] in ("", "higher", "lower")


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_what_the_tutorials_promise(shell: Shell, tutorial: str) -> None:
    printed = follow(shell, tutorial, short=False)
    if tutorial == "first_tool.md":
        right, lying = (success(printed[command]) for command in printed if command.startswith("agentgym eval"))
        assert right >= 0.9
        assert lying <= 0.1
    else:
        assert "success · " in next(text for command, text in printed.items() if "model=runs/guess" in command)
