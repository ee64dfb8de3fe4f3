"""A tutorial as what it tells to do, and a terminal to do it in."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shell:
    """A terminal in an empty folder, where the installed agentgym is the first on the PATH."""

    folder: Path
    commands: Path

    def run(self, command: str) -> str:
        """What it prints; it must succeed."""
        env = {**os.environ, "PATH": f"{self.commands}:{os.environ['PATH']}", "PYTHONPATH": ""}
        env["PIP_NO_BUILD_ISOLATION"] = "0"  # which means none, and so no downloads
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


def steps(tutorial: str) -> list[tuple[str, str]]:
    """What a tutorial tells to do, in order: ("shelves.py", its text) or ("sh", a command)."""
    text = (ROOT / "docs" / tutorial).read_text(encoding="utf-8")
    found: list[tuple[str, str]] = []
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            name = block.splitlines()[0].removeprefix("# ")
            assert name.endswith(".py"), f"{tutorial}: a program begins with its file's name, not {name!r}"
            found.append((name, block))
        elif language == "sh":
            found += [("sh", line) for line in block.replace("\\\n", " ").splitlines() if line]
    return found
