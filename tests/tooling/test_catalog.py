"""What `agentgym list` says of components, and of tools that were installed, whole and broken ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from agentgym import config
from agentgym.described import about
from agentgym.trainers.settings import Settings
from tests.command_line import agentgym

WHOLE = '''
class Shout:
    """Says it aloud.

    In capitals.
    """

    stateless = True

    def __call__(self, text: str) -> str:
        return text.upper()


def python(text: str) -> str:
    """Not the interpreter."""
    return text


def twice(text: str) -> str:
    """Says it twice."""
    return text * 2
'''
BROKEN = {
    "no_module": "import absent_module\n",
    "leaver": "raise SystemExit('no licence')\n",
    "unhinted": "def f(x): ...\n",
}


def distribution(folder: Path, name: str, modules: dict[str, str], points: dict[str, str], group: str) -> Path:
    """Sources of a distribution with these modules and entry points."""
    folder.mkdir()
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    entries = "".join(f'{key} = "{value}"\n' for key, value in points.items())
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{name}"\nversion = "1.2"\n[project.entry-points."{group}"]\n{entries}'
        f"[tool.setuptools]\npy-modules = {list(modules)}\n"
    )
    return folder


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, install: Callable[..., dict[str, str]]
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("plugins")
    points = {"shout": "whole:Shout", "python": "whole:python", "twice": "whole:twice"}
    whole = distribution(folder / "a", "whole-tools", {"whole": WHOLE}, points, "agentgym.tools")
    points = {
        "no_module": "no_module:f",
        "leaver": "leaver:f",
        "unhinted": "unhinted:f",
        "absent": "unhinted:g",
        "twice": "no_module:twice",
    }
    broken = distribution(folder / "b", "broken-tools", BROKEN, points, "agentgym.tools")
    return install(whole, broken)


def test_every_tool_is_listed_and_a_broken_one_says_why(environment: dict[str, str]) -> None:
    done = agentgym(environment, "list", "tools")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok   python (built-in): Run Python code in a session")
    rows = {line.partition(" (")[0]: line for line in lines if " (built-in): " not in line}
    assert rows.pop("ok   shout") == "ok   shout (entry point of whole-tools 1.2): Says it aloud."
    wrong = {
        "python": "whole-tools 1.2): the name is that of a built-in tool; say whole:python",
        "no_module": "of broken-tools 1.2: no_module:f cannot be imported: ModuleNotFoundError: No module",
        "leaver": "broken-tools 1.2: leaver:f cannot be imported: SystemExit: no licence",
        "unhinted": "tool 'f': parameter 'x' has no type hint",
        "absent": "unhinted:g cannot be imported: AttributeError: module 'unhinted' has no attribute 'g'",
        "twice": "'twice' is the name of several: ",
    }
    assert set(rows) == {f"FAIL {name}" for name in wrong}
    for name, reason in wrong.items():
        assert reason in rows[f"FAIL {name}"]


def test_an_installed_name_works_where_tools_are_named(environment: dict[str, str]) -> None:
    program = """
import asyncio
from agentgym.services import Services
from agentgym.tool import ToolContext
from agentgym.tooling.load import toolset

async def main():
    async with Services() as services:
        [tool] = await toolset("shout").open(services)
        print(await tool.call({"text": "abc"}, ToolContext(services)))
    try:
        toolset("shuot")
    except Exception as error:
        print(error)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "ABC",
        "unknown tool 'shuot': did you mean 'shout'? "
        "Known: absent, leaver, no_module, python, search, shout, sql, tool_server, twice, unhinted",
    ]


def test_one_is_told_of_as_a_policy_is_and_with_what_can_be_set() -> None:
    environment, plugin = dict(os.environ), Path(__file__).parent / "plugin.py"
    head, _, told = agentgym(environment, "list", "tool", f"{plugin}:add").stdout.partition("\n\n")
    assert (head, json.loads(told)["description"]) == (f"{plugin}:add", "Add two numbers.")
    assert json.loads(told)["parameters"]["required"] == ["a"]
    search = agentgym(environment, "list", "tool", "search").stdout
    assert re.findall(r"^  (\w+): .* = ", search, re.MULTILINE) == ["retriever", "k", "timeout", "max_tokens"]
    bad = agentgym(environment, "list", "tool", f"{plugin}:Unforkable")
    assert (bad.returncode, "has no fork" in bad.stderr, bad.stdout) == (2, True, "")


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("env", "maze: Walk through rooms to the end"),
        ("envs", "maze: Walk through rooms to the end"),
        ("sandboxes", "local: "),
        ("recipe", "grpo: GRPO (arXiv 2402.03300)"),
        ("losses", "kl: An estimate of KL"),
    ],
)
def test_a_kind_is_listed_by_name_and_what_it_is(word: str, one: str) -> None:
    assert f"\n{one}" in f"\n{agentgym(dict(os.environ), 'list', word).stdout}"


def test_everything_built_in_says_what_it_is() -> None:
    for kind in (kind for kind in config.KINDS if kind != "tool"):
        for name in config.names(kind):
            told = about(kind, name)
            assert told[:1].isalnum() or told[:1] in '`-"', f"{kind} {name}: {told!r}"
            assert not re.match(r"\w+(, \w+)*: ", told), f"{kind} {name} begins with a field"


def test_one_component_is_told_whole_with_the_fields_it_inherits() -> None:
    told = agentgym(dict(os.environ), "list", "env", "retool").stdout
    assert "\n  timeout: float = 5.0\n" in told
    assert "\n  max_turns: int = 8\n" in told
    assert "call_cost: taken off the reward for each call" in told
    recipe = agentgym(dict(os.environ), "list", "recipe", "grpo").stdout
    assert tomllib.loads(recipe)["stages"][0]["reduction"] == "sequence_mean"
    wrong = agentgym(dict(os.environ), "list", "loss", "ppo_clpi")
    assert wrong.returncode == 2
    assert "unknown loss 'ppo_clpi': did you mean 'ppo_clip'?" in wrong.stderr


def test_every_setting_is_listed() -> None:
    told = agentgym(dict(os.environ), "list", "settings").stdout
    for setting in fields(Settings):
        assert f"\n  {setting.name}: " in told


def test_an_unknown_kind_is_named() -> None:
    wrong = agentgym(dict(os.environ), "list", "evn")
    assert wrong.returncode == 2
    assert "list takes a kind, not 'evn': did you mean 'env'?" in wrong.stderr
