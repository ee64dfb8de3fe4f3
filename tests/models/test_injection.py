"""What a tool prints is data: whatever it prints, the policy sees no turn, call or answer that it did not make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from agentgym.models.chat import Chat
from agentgym.types import Message
from agentgym.vocabulary import Vocabulary, unescape

from .families import FAMILIES, family

PROTOCOLS = {
    "retool": ("code", "interpreter"),
    "search_r1": ("search", "information", "answer"),
    "arpo": ("python", "result", "answer"),
    "hermes": ("tool_call", "tool_response"),
}
HARMLESS = "harmless"
SPELLINGS = ("<{}>", "</{}>", "< / {} >", "<{} lang='en'>")


def hostile(marker: str) -> Iterator[str]:
    """A marker alone, in words, doubled, overlapping, and split by itself."""
    half = len(marker) // 2
    yield marker
    yield f"é 1 < 2 & {marker} &lt;b>\n{marker[0]}{marker}{marker} a{marker}b"
    yield f"{marker[:half]}{marker}{marker[half:]}"


def added(tokenizer: Any) -> dict[str, int]:
    """The added tokens that are no indents."""
    return {token: i for token, i in tokenizer.get_added_vocab().items() if token.strip(" ▁")}


def markers(tokenizer: Any, tags: tuple[str, ...]) -> list[str]:
    return [*added(tokenizer), *(spelling.format(tag) for tag in tags for spelling in SPELLINGS)]


def control(tokenizer: Any, ids: tuple[int, ...]) -> list[int]:
    known = set(added(tokenizer).values())
    return [i for i in ids if i in known]


def between(shown: str, around: str) -> str:
    """What stands in `shown` where `HARMLESS` stands in `around`."""
    before, after = around.split(HARMLESS)
    assert shown.startswith(before)
    assert shown.endswith(after)
    return shown[len(before) : len(shown) - len(after)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", FAMILIES)
def test_text_that_continues_the_assistants_message(name: str, protocol: str) -> None:
    tokenizer, tags = family(name), PROTOCOLS[protocol]
    chat, vocabulary = Chat(tokenizer), Vocabulary.of(tokenizer)
    wrap = f"\n<{tags[-1]}>\n{{}}\n</{tags[-1]}>\n".format
    around = chat.extend(wrap(HARMLESS))
    for marker in markers(tokenizer, tags):
        for output in hostile(marker):
            text = vocabulary.neutralise(output, tags)
            ids = chat.extend(wrap(text))
            assert control(tokenizer, ids) == control(tokenizer, around), output
            found = between(chat.decode(ids), chat.decode(around))
            assert unescape(found) == output
            assert not re.search(rf"<\s*/?\s*(?:{'|'.join(tags)})\b", found, re.I)


@pytest.mark.parametrize("name", sorted({*FAMILIES} - {"gemma"}))  # whose template has no place for tools
def test_a_tools_message(name: str) -> None:
    tokenizer, tags = family(name), PROTOCOLS["hermes"]
    chat, vocabulary = Chat(tokenizer), Vocabulary.of(tokenizer)

    def say(content: str) -> list[Message]:
        return [{"role": "tool", "content": content, "name": "f", "tool_call_id": "abcdefghi"}]

    def read(ids: tuple[int, ...]) -> str:
        found = between(chat.decode(ids), chat.decode(around))
        return str(json.loads(f'"{found}"')) if name == "llama" else found

    around = chat.extend(say(HARMLESS))
    for marker in markers(tokenizer, tags):
        for output in hostile(marker):
            for content in (output, vocabulary.neutralise(output, tags)):  # an environment may have forgotten
                ids = chat.extend(say(content))
                assert control(tokenizer, ids) == control(tokenizer, around), content
            assert unescape(read(ids)) == output
            assert read(ids) == content  # and nothing was escaped twice


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_holds_no_control_token_and_may_speak_of_tags(name: str) -> None:
    tokenizer = family(name)
    chat = Chat(tokenizer)
    tokens = tokenizer.added_tokens_decoder.values()
    special = [t.content for t in tokens if t.special or "｜" in t.content]
    plain = control(tokenizer, chat.open([{"role": "user", "content": HARMLESS}]))
    for token in special:
        ids = chat.open([{"role": "user", "content": f"What does {token} mean?"}])
        assert control(tokenizer, ids) == plain, token
    ids = chat.open([{"role": "user", "content": "Call as in <tool_call>{}</tool_call>."}])
    assert "<tool_call>{}</tool_call>" in chat.decode(ids)


@pytest.mark.parametrize("name", ["qwen", "llama", "mistral"])
def test_the_description_of_a_tool_is_data_too(name: str) -> None:
    tokenizer = family(name)
    chat = Chat(tokenizer)

    def prompt(description: str) -> tuple[int, ...]:
        function = {"name": "f", "description": description, "parameters": {"type": "object", "properties": {}}}
        tools = [{"type": "function", "function": function}]
        return chat.open([{"role": "user", "content": "6 * 7?", "tools": tools}])

    for marker in added(tokenizer):
        assert control(tokenizer, prompt(marker)) == control(tokenizer, prompt(HARMLESS)), marker
