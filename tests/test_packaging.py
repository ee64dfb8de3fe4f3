"""What is installed, what it may be called, and what importing it loads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import agentgym
from agentgym.config import KINDS, names, resolve

ROOT = Path(__file__).parents[1]
PLUGINS = ("envs", "tools", "sandboxes", "trainers")
SERVING = ("starlette", "uvicorn", "prometheus_client", "websockets")
PEERS = ("reasoning_gym", "skyrl_gym", "verifiers")
HEAVY = (
    "torch",
    "transformers",
    "numpy",
    "ray",
    "vllm",
    "docker",
    "rich",
    "gymnasium",
    "pyarrow",
    "httpx",
    "httpx2",
    "openai",
    "mcp",
    "pydantic",
    "docstring_parser",
    *SERVING,
    *PEERS,
)
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def tree() -> set[str]:
    """Every folder with an `__init__.py` below the source roots, as the package it is installed as."""
    found = {"agentgym"}
    for root in ("agentgym", *PLUGINS):
        for file in (ROOT / root).rglob("__init__.py"):
            parts = file.parent.relative_to(ROOT).parts
            if parts[0] == "agentgym" and len(parts) > 1 and parts[1] in PLUGINS:
                continue  # seen through a link
            found.add(".".join(parts if parts[0] == "agentgym" else ("agentgym", *parts)))
    return found


def test_packages_are_the_tree() -> None:
    assert set(SETTINGS["packages"]) == tree()
    assert SETTINGS["packages"] == sorted(SETTINGS["packages"])


def test_links_lead_to_the_plugin_folders() -> None:
    for name in PLUGINS:
        assert (ROOT / "agentgym" / name).resolve() == ROOT / name
        assert SETTINGS["package-dir"][f"agentgym.{name}"] == name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel built from a copy of the sources, so that old build folders play no part."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("agentgym", *PLUGINS):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    [file] = out.glob("*.whl")
    return zipfile.ZipFile(file).namelist()


def test_the_wheel_has_one_top_level_name(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel} == {"agentgym", f"agentgym-{agentgym.__version__}.dist-info"}


def test_the_wheel_has_every_module_and_every_data_file(wheel: list[str]) -> None:
    wanted = set()
    for root in ("agentgym", *PLUGINS):
        for file in (ROOT / root).rglob("*"):
            parts = file.relative_to(ROOT).parts
            if file.is_file() and "__pycache__" not in parts and not (root == "agentgym" and parts[1] in PLUGINS):
                wanted.add("/".join(parts if root == "agentgym" else ("agentgym", *parts)))
    assert {name for name in wheel if name.startswith("agentgym/")} == wanted
    assert {"agentgym/py.typed", "agentgym/trainers/recipes/retool.toml"} <= wanted


def test_the_wheel_is_licensed(wheel: list[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_folder_refuses_its_short_name(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"ImportError: import agentgym.{name} instead of {name}" in done.stderr


def loaded_by(program: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter once `program` has run."""
    code = f"{program}\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


COMMAND = """
import sys
sys.argv = ["agentgym", *{words!r}]
from agentgym.cli import main
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
"""


@pytest.mark.parametrize(
    "program",
    [
        "import agentgym",
        "import agentgym; agentgym.Env, agentgym.Task, agentgym.make",
        "from agentgym.config import *\n[resolve(kind, name) for kind in KINDS for name in names(kind)]",
        COMMAND.format(words=["--help"]),
        COMMAND.format(words=["train", "--help"]),
        COMMAND.format(words=["serve", "--help"]),
        COMMAND.format(words=["list"]),
        COMMAND.format(words=["train", "env=retool", "--dry-run"]),
    ],
    ids=["import", "names", "components", "help", "train help", "serve help", "list", "dry run"],
)
def test_quick_commands_load_nothing_heavy(program: str) -> None:
    loaded = loaded_by(program)
    assert "agentgym" in loaded
    assert loaded.isdisjoint(HEAVY), f"{loaded & set(HEAVY)} loaded"


def test_what_is_listed_is_a_component() -> None:
    assert "python" in names("tool")
    for kind in KINDS.keys() - {"tool"}:
        for name in names(kind):
            assert resolve(kind, name).__dataclass_params__.frozen, f"{kind} {name}"
    assert {"independent", "demonstrations"} <= set(names("rollout"))
    assert not {"walk", "manager", "lockstep", "strategy"} & set(names("rollout"))


def test_public_names_resolve() -> None:
    for name in agentgym.__all__:
        assert getattr(agentgym, name) is not None
    assert set(agentgym.__all__) <= set(dir(agentgym))
    with pytest.raises(AttributeError, match=r"has no attribute 'Environment'; it has .*Env"):
        agentgym.Environment  # noqa: B018


def test_constraints_pin_what_pyproject_asks_for() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = project["optional-dependencies"]
    assert extras["dev"][0] == "agentgym[docker,mcp,openai,openenv,serve]"
    for text in [
        *project["dependencies"],
        *extras["docker"],
        *extras["mcp"],
        *extras["openai"],
        *extras["openenv"],
        *extras["serve"],
        *extras["dev"][1:],
    ]:
        wanted = Requirement(text)
        assert pins[wanted.name] in wanted.specifier, f"constraints.txt: {wanted.name} {pins[wanted.name]}"
