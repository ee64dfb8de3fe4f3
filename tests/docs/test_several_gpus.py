"""What docs/several_gpus.md tells to type is understood."""

from __future__ import annotations

import shlex

import pytest
from torch.distributed.run import parse_args

from agentgym.config import parse_overrides
from agentgym.run import resolve_settings

from .tutorial import steps

LINES = [line.split("  #")[0] for name, line in steps("several_gpus.md") if name == "sh"]


@pytest.mark.parametrize("line", [line for line in LINES if "..." not in line])
def test_a_run(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "torchrun":
        told = parse_args(words)
        assert (told.module, told.training_script) == (True, "agentgym")
        words = told.training_script_args
    command, *words = words
    assert command == "train"
    resolve_settings(parse_overrides([word for word in words if word != "resume=true"]), [])
