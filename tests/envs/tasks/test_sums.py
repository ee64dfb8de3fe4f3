"""Running sums: the answer by counting along the ring, and thoughts line by line."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from agentgym.config import build
from agentgym.envs.tasks.sums import think
from agentgym.errors import ConfigError


def test_the_prompt_says_all_that_the_answer_takes() -> None:
    tasks = build("tasks", {"name": "sums", "ring": 3, "base": 7, "steps": [4, 99]}).draw(50, random.Random(0))
    lengths = set()
    for task in tasks:
        *ring, question = task.prompt.split("\n")
        assert [line[0] for line in ring] == ["a", "b", "c"]
        steps = int(question.split()[0])
        assert question == f"{steps} steps, sum mod 7?"
        place = total = 0
        for _ in range(steps):
            total, place = total + int(ring[place][1]), (place + 1) % 3
        assert task.answer == str(total % 7)
        lengths.add(steps)
    assert lengths == {4, 99}


def test_a_thought_adds_up_line_by_line() -> None:
    (task,) = build("tasks", {"name": "sums", "ring": 3, "base": 5, "steps": [10]}).draw(1, random.Random(3))
    thought, answer = think(task.info, random.Random(0), 0.0)
    assert answer == task.answer
    lines = [line.split() for line in thought.splitlines()]
    assert [name for name, _, _ in lines] == [f"{'abc'[i % 3]}{task.info['numbers'][i % 3]}" for i in range(10)]
    assert [int(left) for _, _, left in lines] == list(range(9, -1, -1))
    for (_, before, _), (name, after, _) in pairwise(lines):
        assert int(after) == (int(before) + int(name[1])) % 5


def test_slips_are_gone_on_from() -> None:
    (task,) = build("tasks", {"name": "sums", "steps": [99]}).draw(1, random.Random(3))
    thought, answer = think(task.info, random.Random(0), 0.25)
    lines = [line.split() for line in thought.splitlines()]
    slips = [
        int(after) != (int(before) + int(name[1])) % 5 for (_, before, _), (name, after, _) in pairwise(lines)
    ]
    assert 10 <= sum(slips) <= 40
    assert answer == lines[-1][1]


@pytest.mark.parametrize("fields", [{"ring": 10}, {"base": 1}, {"base": 11}, {"steps": []}, {"steps": [100]}])
def test_what_cannot_be_written_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(fields))} must be"):
        build("tasks", {"name": "sums", **fields})
