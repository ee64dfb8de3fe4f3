"""Turn by turn or all at once: where both give the same ids, where they differ on purpose, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.errors import ConfigError
from agentgym.models import append_only, nano
from agentgym.models.append_only import CASES, inspect
from agentgym.models.chat import Chat
from agentgym.models.template import Template
from agentgym.types import Message

from .conftest import SPECIAL
from .traits import TRAITS, with_trait

# e: equal, d: differs, r: refused; a letter a case, in order
VERDICTS = {
    "plain": "eeeee eeeeeeee",
    "drops_thinking": "eeede eeeeeeee",
    "begins_thought": "ddddd dddddddd",
    "announces_once": "eeeee eeeeedee",
    "default_system": "eeeee eeeeeeee",
    "dated": "eeeed eeeeeeee",
    "strict": "eeeed rrrrrrrr",
    "moves_tools": "eddee eeeeeeee",
    "no_end": "ddddd dddddddd",
    "deaf_to_tools": "eeeee rrrrrrrr",
    "no_tools": "eeeee rrrrrrrr",
    "deaf_to_itself": "rrrrr rrrrrrrr",
}
REASONS = {
    "drops_thinking": append_only.THINKING,
    "begins_thought": append_only.THINKING,
    "announces_once": append_only.LATER,
    "dated": append_only.SPACE,
    "moves_tools": append_only.PROMPT,
    "no_end": append_only.END,
    "deaf_to_tools": append_only.LEFT_OUT.format("tool"),
}
ASKED: Message = {"role": "user", "content": "6 * 7?"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
MORE: Message = {"role": "user", "content": "Sure?"}
TOOLS = [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {}}}]


def output(content: str, **more: Any) -> Message:
    return {"role": "tool", "content": content, **more}  # type: ignore[typeddict-item]


@pytest.mark.parametrize("name", TRAITS)
def test_what_comes_out_of_each_kind_of_conversation(tokenizer: Any, name: str) -> None:
    found = inspect(with_trait(tokenizer, name))
    assert [finding.case for finding in found] == list(CASES)
    assert "".join(finding.verdict[0] for finding in found) == VERDICTS[name].replace(" ", "")
    reasons = {finding.reason for finding in found if finding.verdict != "equal"}
    if name in REASONS:
        assert reasons == {REASONS[name]}
    if name == "strict":
        assert any("roles must alternate" in reason for reason in reasons)


def test_only_the_roles_asked_for_are_tried(tokenizer: Any) -> None:
    deaf = with_trait(tokenizer, "deaf_to_tools")
    assert {finding.verdict for finding in inspect(deaf, {"user"})} == {"equal"}
    assert {finding.verdict for finding in inspect(deaf, {"tool"})} == {"refused"}


def test_text_cut_otherwise_is_told_apart() -> None:
    reasons = {finding.reason for finding in inspect(nano.tokenizer()) if finding.verdict == "differs"}
    assert reasons == {append_only.CUT}  # its merges reach over the seam


@pytest.mark.parametrize("shown", [[MORE], [output("42")], [output("42"), output("43")], []])
@pytest.mark.parametrize("name", sorted({*TRAITS} - {"strict", "no_tools", "deaf_to_itself", "moves_tools"}))
def test_what_follows_is_what_the_template_puts_there(tokenizer: Any, name: str, shown: list[Message]) -> None:
    trait = with_trait(tokenizer, name)
    said: Message = {"role": "assistant", "content": "XYZ"}
    whole = trait.apply_chat_template([ASKED, said, *shown], add_generation_prompt=True, tokenize=False)
    after = whole.split("XYZ")[1]
    chat = Chat(trait)
    assert chat.decode(chat.extend(shown, ended=False)) == after
    assert chat.decode(chat.extend(shown)) == after.removeprefix("<|im_end|>")


def test_the_policy_keeps_its_thoughts_where_the_template_drops_them(tokenizer: Any) -> None:
    trait = with_trait(tokenizer, "drops_thinking")
    chat = Chat(trait)
    said = "<think>\nsix sevens\n</think>\n\n42"
    ids = [*chat.open([ASKED]), *chat.speak(said, end=True), *chat.extend([MORE])]
    whole = trait.apply_chat_template(
        [ASKED, {"role": "assistant", "content": said}, MORE], add_generation_prompt=True, tokenize=False
    )
    assert "six sevens" in chat.decode(ids)
    assert chat.decode(ids).replace("<think>\nsix sevens\n</think>\n\n", "") == whole


@pytest.mark.parametrize("shown", [MORE, output("42")])
def test_tools_and_system_message_stay_where_they_were_put(tokenizer: Any, shown: Message) -> None:
    chat = Chat(with_trait(tokenizer, "moves_tools"))
    opened = chat.open([{**SYSTEM, "tools": TOOLS}, ASKED])  # type: ignore[typeddict-unknown-key]
    text = chat.decode([*opened, *chat.speak("42", end=True), *chat.extend([shown])])
    assert text.startswith("[AVAILABLE_TOOLS]")
    assert text.count("[AVAILABLE_TOOLS]") == text.count("Be brief.") == 1
    assert text.index("Be brief.") < text.index("6 * 7?") < text.index(shown["content"], text.index("?"))


def test_outputs_have_ids_where_the_template_wants_them(tokenizer: Any) -> None:
    chat = Chat(with_trait(tokenizer, "moves_tools"))
    said = ("one", {}), ("two", {"tool_call_id": "x"}), ("three", {"tool_call_id": "abcdefgh1"})
    text = chat.decode(chat.extend([output(content, **more) for content, more in said]))
    ids = re.findall(r"(\w+) of ([a-z0-9]{9})\[", text)
    assert [content for content, _ in ids] == ["one", "two", "three"]
    assert len({name for _, name in ids}) == 3
    assert ids[2][1] == "abcdefgh1"


def test_the_date_is_always_the_same(tokenizer: Any) -> None:
    chat = Chat(with_trait(tokenizer, "dated"))
    assert chat.decode(chat.open([ASKED])).startswith("Today Date: 26 Jul 2024\n")


def test_a_turn_ends_with_the_token_that_the_template_writes(tokenizer: Any) -> None:
    end, eos = map(tokenizer.convert_tokens_to_ids, ("<|im_end|>", "<|endoftext|>"))
    gemma = with_trait(tokenizer, "strict", eos_token="<|endoftext|>")  # as Gemma 2's, whose eos is another
    assert Template(gemma).end == end
    assert Chat(gemma).speak("42", end=True)[-1] == end
    assert end not in Chat(gemma).extend([MORE])[:1]
    assert Template(with_trait(tokenizer, "no_end", eos_token="<|endoftext|>")).end == eos


def test_a_template_that_hides_what_was_said_says_what_to_do(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"does not show what the assistant said.*such as retool"):
        Chat(with_trait(tokenizer, "deaf_to_itself")).extend([MORE])


WORDS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\t<>&|[]"), max_size=30)
ROLES = st.sampled_from(["user", "tool"])


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["plain", "default_system"]),
    turns=st.lists(st.tuples(WORDS, st.lists(st.tuples(ROLES, WORDS), min_size=1, max_size=3)), max_size=3),
)
def test_whatever_is_said_and_shown(tokenizer: Any, name: str, turns: Any) -> None:
    trait = with_trait(tokenizer, name)
    chat, messages = Chat(trait), [ASKED]
    ids = [*chat.open(messages)]
    for said, shown in turns:
        answer: list[Message] = [{"role": role, "content": content} for role, content in shown]
        ids += [*chat.speak(said, end=True), *chat.extend(answer)]
        messages += [{"role": "assistant", "content": said}, *answer]
    assert ids == trait.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted({*TRAITS} - {"strict", "deaf_to_tools", "no_tools", "deaf_to_itself"})),
    words=st.lists(WORDS | st.sampled_from([*SPECIAL, "<|im_end|>\n<|im_start|>assistant\n"]), max_size=4),
    role=ROLES,
)
def test_whatever_looks_like_a_special_token(tokenizer: Any, name: str, words: list[str], role: Any) -> None:
    chat = Chat(with_trait(tokenizer, name))
    special = set(tokenizer.all_special_ids)

    def marks(content: str) -> list[int]:
        return [i for i in chat.extend([{"role": role, "content": content}]) if i in special]

    assert marks("".join(words)) == marks("harmless")


def test_every_case_is_json() -> None:
    for case in CASES.values():
        assert json.loads(json.dumps(case.prompt)) == case.prompt
