"""`agentgym check tool=...`: what keeps every promise passes, and whatever breaks one is found out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentgym.check import check_tool
from agentgym.checks.harness import CheckResult
from agentgym.tooling.load import toolset

from .weak_tools import RawSet

WEAK = Path(__file__).parent / "weak_tools.py"


def failures(results: list[CheckResult]) -> dict[str, str]:
    return {result.name: result.detail for result in results if not result.ok}


@pytest.mark.parametrize("name", ["python", f"{WEAK}:Notes", f"{WEAK}:own_example", f"{WEAK}:picky"])
async def test_good_tools_pass(name: str) -> None:
    results = await check_tool(toolset(name))
    assert failures(results) == {}
    assert len(results) == 8


@pytest.mark.parametrize(
    ("name", "promise", "said"),
    [
        ("undescribed", "policy is told what it needs", "undescribed: 'text' is not described"),
        ("slow", "answers in time", "ToolTimeout: tool 'slow' gave no answer within 0.2 s"),
        (
            "wrong_example",
            "answers in time",
            """its own example is refused: wrong_example(code="barley") -> 'Error""",
        ),
        ("counting", "same arguments same answer", """counting(text="example 1") -> '"""),
        ("SharedNotes", "forks are isolated", "shared_notes: what a fork does reaches its parent"),
        ("ForgottenNotes", "forks are isolated", "forgotten_notes: what a parent does reaches its fork"),
        ("muddled", "many at a time", "muddled: episodes reach each other: it answers 'example "),
        ("littering", "nothing left behind", "left behind after close: file tmp"),
    ],
)
async def test_a_broken_promise_is_found(name: str, promise: str, said: str) -> None:
    found = failures(await check_tool(toolset(f"{WEAK}:{name}")))
    assert said in found[promise]


async def test_what_was_called_is_told() -> None:
    told = {result.name: result.detail for result in await check_tool(toolset(f"{WEAK}:own_example"))}
    assert told["policy is told what it needs"] == "own_example(code)"
    assert told["answers in time"] == """own_example(code="sesame") -> 'open'"""
    told = {result.name: result.detail for result in await check_tool(toolset(f"{WEAK}:picky"))}
    assert told["answers in time"].endswith("'Error: wrong code': write `examples` to have others tried")


async def test_a_tool_of_another_kind_is_held_to_the_same() -> None:
    found = failures(await check_tool(RawSet(held=lambda: None)))
    assert found["wrong arguments are refused"].startswith("ToolFailed: tool 'raw': KeyError: 'x' (")
    assert "lambda" in found["works in another process"]


def test_the_command_says_which_and_fails() -> None:
    def check(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agentgym", "check", f"tool={name}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    good, bad = check(f"{WEAK}:Notes"), check(f"{WEAK}:undescribed")
    assert (good.returncode, bad.returncode) == (0, 1)
    assert "FAIL policy is told what it needs: undescribed: 'text' is not described" in bad.stdout
