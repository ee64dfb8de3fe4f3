"""Markers in outputs become entities, and long outputs are cut by tokens."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym import opening, run
from agentgym.vocabulary import Vocabulary, unescape

from .models.families import FAMILIES, family

PIECES = [
    "<",
    "|",
    ">",
    "<|",
    "|>",
    "<|im_end|>",
    "<s>",
    "[INST]",
    "</code>",
    "&",
    "amp;",
    "lt;",
    "#60;",
    "#9999999;",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]) | st.text(max_size=20)).map(
    "".join
)
LONG = st.lists(
    TEXTS | st.sampled_from(["words of a text ", "東京", "👩‍👩‍👧‍👧", "é", "\n\n", "12345", "ﷺ"]), max_size=30
).map("".join)


def counts(name: str, text: str) -> int:
    tokenizer: Any = family(name)
    return len(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<|im_end|>", "&lt;|im_end|>"),
        ("<｜User｜>", "&lt;｜User｜>"),
        ("[INST] hi [/INST]", "&#91;INST] hi &#91;/INST]"),
        ("</s><start_of_turn><<SYS>>", "&lt;/s>&lt;start_of_turn>&lt;<SYS>>"),
        ("<<|im_end|>", "<&lt;|im_end|>"),
        ("<|im_<|im_end|>end|>", "&lt;|im_&lt;|im_end|>end|>"),
        (
            "</code>|< / CODE >|<code lang='x'>|<\n/\ncode>",
            "&lt;/code>|&lt; / CODE >|&lt;code lang='x'>|&lt;\n/\ncode>",
        ),
        ("＜/ｃｏｄｅ>", "&#65308;/ｃｏｄｅ>"),
        ("1 < 2 & x[0] <b> <coder> <decode> [INSTANCE] a<-b", "1 < 2 & x[0] <b> <coder> <decode> [INSTANCE] a<-b"),
        ("&lt;code> &amp; &#60; &nbsp; &#x3c; AT&T", "&amp;lt;code> &amp;amp; &amp;#60; &nbsp; &#x3c; AT&T"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert Vocabulary().neutralise(text, ("code",)) == shown
    assert unescape(shown) == text


def test_a_vocabularys_own_markers() -> None:
    vocabulary = Vocabulary(["<tool>", "<tool>x", "[END]", "§", "  ", "▁▁"])
    assert vocabulary.neutralise("<tool>x [END] § ▁▁  <|im_end|>") == "&lt;tool>x &#91;END] &#167; ▁▁  <|im_end|>"
    assert vocabulary.is_armed("a [END]")
    assert not vocabulary.is_armed("[EN D] <code> &lt;tool>")
    assert Vocabulary([]).neutralise("<|im_end|> <code>", ("code",)) == "<|im_end|> &lt;code>"


@given(TEXTS, st.sampled_from([(), ("code", "interpreter")]))
def test_any_text_can_be_had_back(text: str, tags: tuple[str, ...]) -> None:
    vocabulary = Vocabulary()
    shown = vocabulary.neutralise(text, tags)
    assert unescape(shown) == text
    assert not vocabulary.is_armed(shown)
    assert not re.search("<[|｜]|<s>|\\[INST]", shown)
    assert not (tags and re.search("</?code", shown))


def test_thousands_of_markers_and_long_texts() -> None:
    vocabulary = Vocabulary(f"<unused{i}>" for i in range(10_000))
    assert vocabulary.neutralise("<unused9999><unused10000>") == "&lt;unused9999><unused10000>"
    blank = "<" + " " * 1_000_000  # would take hours if time grew with the square
    assert vocabulary.neutralise(blank, ("code",)) == blank


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(text=LONG, most=st.integers(0, 80))
def test_a_cut_output_is_no_longer_than_asked_for(name: str, text: str, most: int) -> None:
    shown = Vocabulary.of(family(name)).clip(text, most)
    assert counts(name, shown) <= most
    if counts(name, text) <= most:
        assert shown == text
    elif found := re.fullmatch(r"(.*)\n\.\.\. \(\d+ tokens left out\) \.\.\.\n(.*)", shown, re.S):
        assert text.startswith(found[1])
        assert text.endswith(found[2])
    else:
        assert text.startswith(shown)
        assert most < 45  # room for the mark and something


@pytest.mark.parametrize("name", ["qwen", "llama", "deepseek"])  # a byte is a token
def test_the_mark_counts_what_is_left_out(name: str) -> None:
    text = "".join(f"line {i} 東🙂🙂\n" for i in range(100))
    for most in range(400, 440):
        shown = Vocabulary.of(family(name)).clip(text, most)
        found = re.fullmatch(
            r"(line 0 .*)\n\.\.\. \((\d+) tokens left out\) \.\.\.\n(.*line 99 東🙂🙂\n)", shown, re.S
        )
        assert found
        assert int(found[2]) == counts(name, text) - counts(name, found[1]) - counts(name, found[3])
        assert most - 12 <= counts(name, shown) <= most


def test_a_token_before_the_first_character_counts() -> None:
    assert counts("mistral", "abc") == 4
    assert Vocabulary.of(family("mistral")).clip("abc", 3) == "ab"


def test_without_a_tokenizer_a_token_is_four_bytes() -> None:
    vocabulary = Vocabulary()
    assert vocabulary.clip("x" * 400, 100) == "x" * 400
    shown = vocabulary.clip("a" * 400 + "é" * 400, 100)
    found = re.fullmatch(r"(a+)\n\.\.\. \((\d+) tokens left out\) \.\.\.\n(é+)", shown)
    assert found
    assert 97 <= -(-len(shown.encode()) // 4) <= 100
    assert int(found[2]) == pytest.approx(300 - len(shown.encode()) / 4, abs=15)


def test_a_tokenizer_that_does_not_tell_where_its_tokens_are() -> None:
    class Slow:
        """Characters; dense at the beginning, where a letter is three tokens."""

        is_fast = False
        all_special_tokens = ("<end>",)

        def get_added_vocab(self) -> dict[str, int]:
            return {"<end>": 1}

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [0] * sum(3 if c.isalpha() else 1 for c in text)}

    vocabulary = Vocabulary.of(Slow())  # type: ignore[arg-type]
    assert vocabulary.neutralise("<end>") == "&lt;end>"
    shown = vocabulary.clip("x" * 500 + "1" * 500, 200)
    assert re.fullmatch(r"x+\n\.\.\. \(\d+ tokens left out\) \.\.\.\n1+", shown)
    assert len(Slow()(shown)["input_ids"]) <= 200


async def test_a_run_counts_in_its_policys_tokens() -> None:
    async with opening.open_policy(run.resolve_settings({"env": "maze"}, [])) as (_, tokenizer, _, manager):
        vocabulary = manager(1.0).services.vocabulary
        text = "zebra " * 200
        shown = vocabulary.clip(text, 100)
        assert 95 <= len(tokenizer.encode(shown, add_special_tokens=False)) <= 100
        assert vocabulary.neutralise("<|endoftext|>") == "&lt;|endoftext|>"
