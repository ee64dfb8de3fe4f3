"""Control groups of version 2, as far as their files tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentgym.sandboxes.hosting.cgroups import _pass_on


@pytest.mark.parametrize(
    ("offered", "passed_on"),
    [("cpuset cpu io memory pids", "+memory +pids +cpu"), ("memory pids", "+memory +pids")],
)
def test_only_what_is_offered_is_passed_on(tmp_path: Path, offered: str, passed_on: str) -> None:
    """The kernel refuses the whole line for one controller that is not there."""
    (tmp_path / "cgroup.controllers").write_text(offered)
    _pass_on(tmp_path)
    assert (tmp_path / "cgroup.subtree_control").read_text() == passed_on
