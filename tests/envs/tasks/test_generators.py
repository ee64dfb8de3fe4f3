"""The task generators: seeds, splits, and answers checked by other means."""

from __future__ import annotations

import ast
import random
import re
from typing import Any

import pytest

from agentgym.config import build
from agentgym.envs.expressions import hits_target
from agentgym.errors import ConfigError
from agentgym.types import Task

GENERATORS = [
    "arith",
    "countdown",
    "functions",
    {"name": "countdown", "count": 4},
    {"name": "arith", "digits": 3},
    {"name": "functions", "steps": 1},
]


def draw(spec: Any, n: int = 300, seed: int = 0, split: str = "train") -> list[Task]:
    tasks: list[Task] = build("tasks", spec).draw(n, random.Random(seed), split)
    return tasks


@pytest.mark.parametrize("spec", GENERATORS)
def test_a_seed_names_the_tasks(spec: Any) -> None:
    assert draw(spec) == draw(spec)
    assert draw(spec) != draw(spec, seed=1)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "seeds", "count": 14},
        {"name": "mazes", "corridors": 0, "halls": 1, "signs": 1},
        {"name": "sums", "ring": 2, "base": 2, "steps": [31]},
    ],
)
def test_who_makes_none_to_evaluate_on_says_so(spec: Any) -> None:
    with pytest.raises(ConfigError, match="is in the eval split"):
        draw(spec, 1, split="eval")
    assert len(draw(spec, 5)) == 5


@pytest.mark.parametrize("spec", GENERATORS)
def test_evaluation_tasks_are_never_trained_on(spec: Any) -> None:
    trained = {task.prompt for task in draw(spec, 2000)}
    evaluated = {task.prompt for task in draw(spec, 300, seed=1, split="eval")}
    assert len(evaluated) > 10
    assert not trained & evaluated


def test_arith_states_the_right_answer() -> None:
    for task in draw("arith"):
        match = re.fullmatch(r"What is (\d+) ([*+]) (\d+)\?", str(task.prompt))
        assert match is not None, task.prompt
        a, b = int(match[1]), int(match[3])
        assert task.answer == str(a * b if match[2] == "*" else a + b)


def test_hard_arith_needs_a_tool_and_easy_does_not() -> None:
    tasks = draw("arith", 1000)
    easy = [task for task in tasks if task.info["level"] == "easy"]
    assert 0.2 < len(easy) / len(tasks) < 0.4
    for task in tasks:
        sizes = [len(number) for number in re.findall(r"\d+", str(task.prompt))]
        assert max(sizes) <= 5
        fewest = 5 if "+" in str(task.prompt) else 3
        assert max(sizes) == 1 if task in easy else min(sizes) >= fewest


def test_functions_do_what_the_question_says() -> None:
    """Read the question, not the code that was made with it."""
    steps = {
        r"add (\d+) to each number": lambda xs, k: [x + k for x in xs],
        r"multiply each number by (\d+)": lambda xs, k: [x * k for x in xs],
        r"take each number from (\d+)": lambda xs, k: [k - x for x in xs],
        r"square each number()": lambda xs, k: [x**2 for x in xs],
        r"keep the numbers above (\d+)": lambda xs, k: [x for x in xs if x > k],
        r"drop the multiples of (\d+)": lambda xs, k: [x for x in xs if x % k != 0],
        r"keep the even numbers()": lambda xs, k: [x for x in xs if x % 2 == 0],
        r"drop the first (\d+) numbers": lambda xs, k: xs[k:],
        r"return the sum()": lambda xs, k: sum(xs),
        r"return how many there are()": lambda xs, k: len(xs),
        r"return them in ascending order()": lambda xs, k: sorted(xs),
        r"return them in reverse()": lambda xs, k: list(reversed(xs)),
        r"return how many are different()": lambda xs, k: len(set(xs)),
    }
    seen = set()
    for task in draw({"name": "functions", "steps": 3}):
        match = re.fullmatch(r"Write f\(xs\): (.*)\. f\((.*)\) is (.*)\.", str(task.prompt))
        assert match is not None, task.prompt
        cases = [(match[2], match[3]), *re.findall(r"^assert f\((.*)\) == (.*)$", task.info["tests"].tests, re.M)]
        assert len(cases) == 6
        for given, expected in cases:
            value: Any = ast.literal_eval(given)
            for words in match[1].split(", "):
                ((step, number),) = [(s, m[1]) for s in steps if (m := re.fullmatch(s, words))]
                value = steps[step](value, int(number or 0))
                seen.add(step)
            assert value == ast.literal_eval(expected)
    assert seen == set(steps)


def test_no_constant_solves_a_function() -> None:
    for task in draw("functions"):
        results = re.findall(r"== (.*)$", task.info["tests"].tests, re.M)
        assert len(set(results)) > 1, task.prompt


@pytest.mark.parametrize("count", [2, 3, 4])
def test_countdown_is_solved_by_its_own_answer(count: int) -> None:
    for task in draw({"name": "countdown", "count": count}, 200):
        numbers, target = task.info["numbers"], task.info["target"]
        assert len(numbers) == count
        assert hits_target(task.answer, numbers, target)
        assert 1 <= target <= 100
        assert task.prompt == (
            f"Using each of the numbers {numbers} exactly once and + - * / with parentheses, "
            f"write an expression equal to {target}."
        )


@pytest.mark.parametrize("spec", ["arith", "countdown"])
def test_a_generator_cannot_give_all_of_its_tasks(spec: str) -> None:
    with pytest.raises(ConfigError, match="without end"):
        build("tasks", spec).draw(None, random.Random(0))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [({"name": "arith", "digits": 1}, "digits"), ({"name": "countdown", "low": 9, "high": 9}, "low")],
)
def test_impossible_settings_are_refused(spec: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build("tasks", spec)
