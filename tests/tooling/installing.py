"""Distributions installed for real, into a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def install(target: Path, *sources: Path) -> dict[str, str]:
    """Install into `target`; the variables of a process that sees it."""
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", *words, *map(str, sources)], check=True, timeout=120)
    path = os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}


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


def agentgym(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process that sees what was installed."""
    command = [sys.executable, "-m", "agentgym", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
