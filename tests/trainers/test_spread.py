"""However a batch is shared out, and however the weights lie, a step is the one that a single process takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from agentgym.trainers.shares import shares

from . import learn_apart
from .torchrun import torchrun


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return learn_apart.learn()


@pytest.mark.parametrize(("kind", "size"), [("replicated", 2), ("sharded", 2), ("sharded", 3)])
def test_processes_take_the_step_of_one(alone: dict[str, Tensor], kind: str, size: int, tmp_path: Path) -> None:
    """Gradients, weights, metrics and what the weights think of a batch; also where a process has nothing to
    learn from, and with micro-batches of different numbers."""
    done = torchrun(size, [learn_apart.__file__, kind, str(tmp_path / "found")])
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "found")
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: name + text
        )


def test_shares_are_whole_groups_with_about_as_many_tokens() -> None:
    batch = learn_apart.make_batch([1, 40, 2, 2, 30, 2])
    parts = shares(batch, [float(i) for i in range(len(batch))], 2)
    assert sorted(scored.group.id for part in parts for scored, _ in part) == sorted(
        scored.group.id
        for scored in batch[1:]  # the first weighs nothing
    )
    first, second = ({scored.group.id for scored, _ in part} for part in parts)
    assert not first & second
    sizes = [sum(scored.length for scored, _ in part) for part in parts]
    assert abs(sizes[0] - sizes[1]) <= 20  # of 156, where one group has 80
    assert {weight for part in parts for _, weight in part} == {float(i) for i in range(1, len(batch))}
