"""Generated conversations: what is asked follows from what was said, as read off the words alone."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest

from agentgym.config import build
from agentgym.types import Task

SAID = (
    (r"(\w+) lives in (\w+)\.", "home", "new"),
    (r"(\w+) moved to (\w+)\.", "home", "changed"),
    (r"No, (\w+) lives in (\w+)\.", "home", "wrong"),
    (r"(\w+) still lives in (\w+)\.", "home", "again"),
    (r"(\w+) left (\w+)\.", "home", "over"),
    (r"(\w+) works for (\w+)\.", "work", "new"),
    (r"(\w+) went over to (\w+)\.", "work", "changed"),
    (r"No, (\w+) works for (\w+)\.", "work", "wrong"),
    (r"(\w+) still works for (\w+)\.", "work", "again"),
    (r"(\w+) was fired by (\w+)\.", "work", "over"),
)
ASKED = (
    (r"Where does (\w+) live\?", "home", False),
    (r"Where did (\w+) live before\?", "home", True),
    (r"Who does (\w+) work for\?", "work", False),
    (r"Who did (\w+) work for before\?", "work", True),
)


def draw(n: int = 300, seed: int = 0, **fields: Any) -> list[Task]:
    tasks: list[Task] = build("tasks", {"name": "streams", **fields}).draw(n, random.Random(seed))
    return tasks


def believe(task: Task) -> tuple[dict[tuple[str, str], list[str]], Counter[str]]:
    """What was so of each fact in turn ("unknown" at last where it ended), and what kinds of parts there were."""
    facts: dict[tuple[str, str], list[str]] = {}
    kinds: Counter[str] = Counter()
    for part in task.info["parts"]:
        for form, relation, kind in SAID:
            found = re.fullmatch(form, part["text"])
            if found is None:
                continue
            values = facts.setdefault((found[1], relation), [])
            if kind == "wrong":
                values[-1] = found[2]
            elif kind == "over":
                assert values[-1] == found[2]
                values.append("unknown")
            elif kind == "again":
                assert values[-1] == found[2]
            else:
                values.append(found[2])
            kinds[kind] += 1
            break
        else:
            kinds["chatter"] += 1
    return facts, kinds


def test_answers_follow_from_what_was_said() -> None:
    befores = 0
    for task in draw(temporal=0.5):
        facts, _ = believe(task)
        for question in task.info["questions"]:
            [(name, relation, before)] = [
                (found[1], relation, before)
                for form, relation, before in ASKED
                if (found := re.fullmatch(form, question["question"]))
            ]
            assert question["answer"] == facts[name, relation][-2 if before else -1]
            befores += before
        assert task.answer == "\n".join(question["answer"] for question in task.info["questions"])
        assert str(task.prompt) == "\n".join(question["question"] for question in task.info["questions"])
        assert task.info["history"] or not any("before" in row["question"] for row in task.info["questions"])
    assert befores > 30


def test_there_is_of_everything_and_no_more_facts_at_a_time_than_fit() -> None:
    total: Counter[str] = Counter()
    for task in draw():
        facts, kinds = believe(task)
        assert len(facts) == task.info["capacity"] == 3
        assert len({name for name, _ in facts}) == 3
        assert sum(kinds.values()) == len(task.info["parts"]) == 7
        total += kinds
    assert set(total) == {"new", "changed", "wrong", "over", "again", "chatter"}
    assert min(total.values()) > 100


def test_several_facts_may_be_about_one_person() -> None:
    for task in draw(20, facts=5, people=3):
        facts, _ = believe(task)
        assert (len(facts), len({name for name, _ in facts})) == (5, 3)


def test_seeds_and_splits() -> None:
    assert draw(20) == draw(20)
    assert draw(20) != draw(20, seed=1)
    source = build("tasks", "streams")
    trained, kept = (
        {task.id for task in source.draw(n, random.Random(0), split)}
        for n, split in ((2000, "train"), (300, "eval"))
    )
    assert not trained & kept


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"chatter": -1}, "chatter must be"),
        ({"questions": 5}, "5 questions about 3"),
        ({"temporal": 2.0}, "temporal"),
        ({"facts": 400}, "names"),
        ({"facts": 5, "people": 2}, "5 facts about 2 people"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(Exception, match=why):
        build("tasks", {"name": "streams", **fields})
