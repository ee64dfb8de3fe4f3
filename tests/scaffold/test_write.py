"""`agentgym init`: what it writes installs, passes its own tests and is found by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agentgym.errors import ConfigError
from agentgym.scaffold.write import write_plugin
from tests.command_line import agentgym


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a tool and an environment were begun, on the command line."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind, name in (("tool", "unit-converter"), ("env", "guess_it")):
        done = subprocess.run(
            [sys.executable, "-m", "agentgym", "init", kind, name], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert f"{name}/README.md" in done.stdout.split()
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path, install: Callable[..., dict[str, str]]) -> dict[str, str]:
    return install(folder / "unit-converter", folder / "guess_it")


@pytest.mark.parametrize("name", ["unit-converter", "guess_it"])
def test_its_own_tests_pass(folder: Path, name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder / name, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_it_is_found_by_name(environment: dict[str, str]) -> None:
    listed = agentgym(environment, "list", "tools").stdout
    line = "unit_converter (entry point of unit-converter 0.1.0): Convert a distance between miles and kilometres."
    assert f"ok   {line}\n" in listed
    assert "\nguess_it: " in agentgym(environment, "list", "envs").stdout


def test_the_environment_keeps_its_contract(environment: dict[str, str]) -> None:
    done = agentgym(environment, "check", "env=guess_it")
    assert (done.returncode, done.stderr) == (0, "")
    assert "FAIL" not in done.stdout


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("tol", "x", "init takes tool or env, not 'tol': did you mean 'tool'"),
        ("tool", "Search", "'Search' is no name for a tool"),
        ("tool", "../search", "'../search' is no name for a tool"),
        ("tool", "2d", "'2d' is no name for a tool"),
        ("tool", "class", "'class' is no name for a tool"),
        ("env", "maze", "there is a built-in env 'maze'"),
        ("tool", "json", "Python's own module 'json' would be hidden"),
    ],
)
def test_a_name_that_will_not_do_writes_nothing(tmp_path: Path, kind: str, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        write_plugin(kind, name, tmp_path)
    assert os.listdir(tmp_path) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.py").write_text("kept")
    with pytest.raises(ConfigError, match="File exists; nothing was written"):
        write_plugin("tool", "mine", tmp_path)
    assert (tmp_path / "mine" / "mine.py").read_text() == "kept"
