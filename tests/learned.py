"""What tests of whole recipes share: the command line, a run, and episodes that the run has not evaluated on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from agentgym.runlog import read_forests
from agentgym.types import Group


def agentgym(*words: str) -> str:
    """Its standard output."""
    done = subprocess.run([sys.executable, "-m", "agentgym", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(env: str, folder: Path) -> Path:
    """The directory of a run of seed 0."""
    agentgym("train", f"env={env}", "seed=0", f"output_dir={folder}", "run_name=run")
    return folder / "run"


def evaluate(env: str, run: Path, *words: str) -> tuple[float, list[Group]]:
    """Success on 256 tasks of another seed, and the episodes."""
    episodes = run / "episodes.jsonl"
    base = ("eval", f"env={env}", f"model={run}", "env.prompt=plain", "seed=987", "-n", "256", "--json")
    result = json.loads(agentgym(*base, *words, "--save", str(episodes)))
    return float(result["success"]), list(read_forests(episodes))
