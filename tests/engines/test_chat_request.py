"""What a chat API is sent for a conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentgym.engines.call_texts import CallText, read_calls, write_calls
from agentgym.engines.chat_pieces import ChatPieces
from agentgym.engines.chat_request import conversation
from agentgym.errors import ConfigError
from agentgym.protocols.hermes import Hermes
from agentgym.tool import Call
from agentgym.types import Message, Observation

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
OPENING: list[Message] = [
    {"role": "system", "content": "Add.", "tools": [ADD]},
    {"role": "user", "content": "1+2?"},
]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


def asked(*said: str | Observation, opening: list[Message] = OPENING, **options: bool) -> dict[str, Any]:
    """The request after these: what the policy said, what it was shown, and so on."""
    chat = ChatPieces()
    ids = chat.open(opening)
    for turn, text in enumerate(said):
        if turn % 2 == 0:
            assert isinstance(text, str)
            ids += chat.speak(text, end=True)
        else:
            ids += chat.extend(text)
    return conversation(chat.pieces.messages(ids), **{"continues": False, "calls_tools": True, **options})


def test_tools_are_the_requests_own() -> None:
    request = asked()
    assert request == {
        "messages": [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+2?"}],
        "tools": [ADD],
    }


def test_calls_and_outputs_go_back_as_they_came() -> None:
    calls = [CallText("a1", "add", '{"x": 1}'), CallText("a2", "add", "{broken")]
    said = write_calls("Let me see.", calls)
    dialogue = Hermes().bind(())
    parsed = dialogue.parse(said).calls
    assert parsed[0] == Call("add", {"x": 1}, "a1")
    shown: list[Message] = [
        {"role": "tool", "content": "3", "name": "add", "tool_call_id": "a1"},
        {"role": "tool", "content": parsed[1].reason},  # type: ignore[union-attr]
    ]
    _, _, assistant, first, second = asked(said, shown)["messages"]
    assert assistant["content"] == "Let me see."
    assert [(c["id"], c["function"]["name"]) for c in assistant["tool_calls"]] == [("a1", "add"), ("a2", "add")]
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"x": 1}
    assert assistant["tool_calls"][1]["function"]["arguments"] == "{broken"
    assert first == {"role": "tool", "tool_call_id": "a1", "content": "3"}
    assert (second["tool_call_id"], "arguments must be an object" in second["content"]) == ("a2", True)


def test_calls_written_as_text_stay_text() -> None:
    """Outputs of calls that have no id, or not one each, would be refused."""
    plain = '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'
    two = write_calls("", [CallText("a1", "add", "{}"), CallText("a2", "add", "{}")])
    for said in (plain, two, two.replace("a2", ""), two + "<tool_call>"):
        *_, assistant, output = asked(said, [{"role": "tool", "content": "3"}])["messages"]
        assert assistant == {"role": "assistant", "content": said}
        assert output == {"role": "user", "content": "3"}


def test_a_server_without_tools_is_told_of_them_in_words() -> None:
    said = write_calls("", [CallText("a1", "add", "{}")])
    request = asked(said, [{"role": "tool", "content": "3"}], calls_tools=False)
    assert "tools" not in request
    system, _, assistant, output = request["messages"]
    assert system["content"].startswith("Add.\n\n")
    assert '"name": "add"' in system["content"]
    assert (assistant["content"], output) == (said, {"role": "user", "content": "3"})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), JSON), min_size=1, max_size=3))
def test_calls_as_text_are_read_again(content: str, calls: list[tuple[str, str, Any]]) -> None:
    made = [CallText(i, name, json.dumps(arguments)) for i, name, arguments in calls]
    text = write_calls(content, made)
    found, again = read_calls(text)
    assert [(call.id, call.name) for call in again] == [(i, name) for i, name, _ in calls]
    for call, (_, _, arguments) in zip(again, calls, strict=True):
        assert json.loads(call.arguments) == arguments
    assert found == content


def test_what_is_shown_inside_a_message() -> None:
    said = ("<code>1</code>", "\n<out>1</out>\n", "so 1", " go on ")
    request = asked(*said, continues=True)
    assert request["messages"][2:] == [{"role": "assistant", "content": "".join(said)}]
    assert (request["continue_final_message"], request["add_generation_prompt"]) == (True, False)
    request = asked(*said)
    assert [(m["role"], m["content"]) for m in request["messages"][2:]] == [
        ("assistant", said[0]),
        ("user", said[1]),
        ("assistant", said[2]),
        ("user", said[3]),
    ]
    assert "continue_final_message" not in request


def test_a_message_begun_needs_a_server_that_goes_on() -> None:
    with pytest.raises(ConfigError, match=r"engine\.continues=true"):
        asked("hmm")
    with pytest.raises(ConfigError, match=r"engine\.continues=true"):
        asked("hmm", "")
    assert asked("hmm", continues=True)["continue_final_message"]
    assert asked("hmm", [])["messages"][-1] == {"role": "assistant", "content": "hmm"}  # two of its messages
