"""What managers and answerers write, and what is made of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.protocols.memory_r1 import (
    BadOperations,
    Operation,
    read_answered,
    read_operations,
    write_answered,
    write_operations,
)

TEXTS = st.text(min_size=1).map(lambda text: " ".join(text.split())).filter(bool).filter(lambda t: t.isprintable())
OPERATIONS = st.one_of(
    st.builds(lambda text: Operation("ADD", text=text), TEXTS),
    st.builds(lambda number, text: Operation("UPDATE", number, text), st.integers(0, 10**6), TEXTS),
    st.builds(lambda number: Operation("DELETE", number), st.integers(0, 10**6)),
)


@given(st.lists(OPERATIONS, max_size=4))
def test_operations_are_read_as_they_are_written(operations: list[Operation]) -> None:
    assert read_operations(write_operations(operations)) == tuple(operations)


def test_the_papers_own_form_is_read() -> None:
    said = {
        "memory": [
            {"id": "0", "text": "Likes tea", "event": "UPDATE", "old_memory": "Likes coffee"},
            {"id": "1", "text": "Has a dog", "event": "NONE"},
            {"id": "2", "text": "Lives in Rome", "event": "delete"},
            {"text": "Is\n  a nurse", "event": "ADD"},
        ]
    }
    wanted = (Operation("UPDATE", 0, "Likes tea"), Operation("DELETE", 2), Operation("ADD", text="Is a nurse"))
    assert read_operations(json.dumps(said)) == wanted
    assert read_operations(f"<think>Hm.</think>\n```json\n{json.dumps(said, indent=1)}\n```") == wanted
    assert read_operations('{"memory": []}') == ()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("I would add it.", "this is no JSON"),
        ('{"memory": [{"event": "NOOP"}]} Done.', "more text after"),
        ('[{"event": "NOOP"}]', 'the key "memory"'),
        ('{"memory": {"event": "NOOP"}}', "a list"),
        ('{"memory": ["NOOP"]}', 'an object with an "event"'),
        ('{"memory": [{"event": "UPDAT", "id": 1, "text": "x"}]}', "did you mean 'UPDATE'"),
        ('{"memory": [{"event": "ADD"}]}', 'ADD needs the "text"'),
        ('{"memory": [{"event": "ADD", "text": "  "}]}', 'ADD needs the "text"'),
        ('{"memory": [{"event": "UPDATE", "id": 1, "text": 5}]}', 'UPDATE needs the "text"'),
        ('{"memory": [{"event": "DELETE"}]}', 'DELETE needs the "id"'),
        ('{"memory": [{"event": "DELETE", "id": true}]}', 'DELETE needs the "id"'),
        ('{"memory": [{"event": "UPDATE", "id": "one", "text": "x"}]}', 'UPDATE needs the "id"'),
    ],
)
def test_what_is_no_operation_is_told_why(said: str, why: str) -> None:
    with pytest.raises(BadOperations) as told:
        read_operations(said)
    assert why in str(told.value)


def test_an_answer_stands_after_the_memories_it_relies_on() -> None:
    said = write_answered(["Ada lives in Rome. [3]", "deleted (before: 4: x) [12]"], "Rome")
    assert (read_answered(said).selected, read_answered(said).answer) == ((3, 12), "Rome")
    nothing = read_answered(write_answered([], "unknown"))
    assert (nothing.selected, nothing.answer) == ((), "unknown")
    assert read_answered("Rome").answer is None
    assert read_answered("<memories>\n1: x").selected == ()
