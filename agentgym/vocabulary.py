"""What text means to a policy's tokenizer: which stretches of it are markers and not words, and how long it is.

What a tool prints is data. A marker in it (a special token, a tag of the action protocol, a template's bracket)
gets an HTML entity for its first character, as in `&lt;|im_end|>`: no tokenizer and no parser takes that for a
marker, everybody can read it, and `unescape` gives back what was printed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONTROL = (
    *("<|", "<<SYS>>", "<</SYS>>", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>"),
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[/TOOL_CALLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]"),
)
"""Markers that shape a conversation, in the common model families. `<|` begins many; it is one itself, however the
rest is cut off."""

COMMON = (
    *CONTROL,
    *("<think>", "</think>", "[THINK]", "[/THINK]"),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
)
"""All markers of the common model families: also those that a prompt may well tell a policy to write."""

ENTITY = re.compile("&(?:amp|lt|#([0-9]{1,7}));")
"""What `neutralise` writes and `unescape` reads."""

MARK = "\n... ({} tokens left out) ...\n"

Span = tuple[int, int]
"""Where a token lies in its text: its first character, and the one after its last."""


def unescape(text: str) -> str:
    """What `Vocabulary.neutralise` was given, from what it returned."""
    return ENTITY.sub(_character, text)


def _character(entity: re.Match[str]) -> str:
    if entity[1] is None:
        return {"&amp;": "&", "&lt;": "<"}[entity[0]]
    return chr(int(entity[1])) if int(entity[1]) <= 0x10FFFF else entity[0]


def _entity(character: str) -> str:
    return {"&": "&amp;", "<": "&lt;"}.get(character) or f"&#{ord(character)};"


def spread(text: str, count: int) -> list[Span]:
    """Where `count` tokens would lie if all were of the same length."""
    return list(pairwise(len(text) * i // count for i in range(count + 1))) if count else []


def estimate(text: str) -> list[Span]:
    """Where tokens of 4 bytes would lie."""
    return spread(text, -(-len(text.encode(errors="surrogatepass")) // 4))


class Vocabulary:
    """The markers and the tokens of a policy's tokenizer.

    markers: texts that are no words. locate: gives the place of every token of a text, in order.
    """

    def __init__(self, markers: Iterable[str] = COMMON, locate: Callable[[str], list[Span]] = estimate) -> None:
        self._markers: list[str] = []
        words = {_fold(marker) for marker in markers if marker.replace("▁", " ").strip()}  # indents are no markers
        for marker in sorted(words):
            if not (self._markers and marker.startswith(self._markers[-1])):
                self._markers.append(marker)
        self._firsts = {"<", *(marker[0] for marker in self._markers)}  # "<": a tag's
        self._locate = locate
        self._pattern = lru_cache(maxsize=64)(self._make_pattern)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
        """Of a Hugging Face tokenizer: its special and other added tokens, and the common families' markers."""

        def locate(text: str) -> list[Span]:
            exact = tokenizer.is_fast  # a slow one tells how many tokens there are, and not where
            found = tokenizer(
                text,
                add_special_tokens=False,
                split_special_tokens=True,
                return_offsets_mapping=exact,
                verbose=False,
            )
            return list(found["offset_mapping"]) if exact else spread(text, len(found["input_ids"]))

        return cls((*COMMON, *tokenizer.get_added_vocab(), *tokenizer.all_special_tokens), locate)

    def is_armed(self, text: str) -> bool:
        """Whether `text` holds a marker."""
        return bool(self._starts(text, ()))

    def neutralise(self, text: str, tags: Sequence[str] = ()) -> str:
        """`text` with an entity for the first character of every marker and of every tag of these names, however
        it is spelled. What looks like such an entity gets one for its `&`."""
        starts = self._starts(text, tuple(tags)) | {found.start() for found in ENTITY.finditer(text)}
        if not starts:
            return text
        return "".join(_entity(c) if i in starts else c for i, c in enumerate(text))

    def as_data(self, text: str, tags: Sequence[str], max_tokens: int) -> str:
        """`text` as nothing but data, whatever it looks like, and not too long."""
        return self.clip(self.neutralise(text, tags), max_tokens)  # an entity is several tokens

    def disarm(self, value: Any) -> Any:
        """A JSON value without markers in its strings. Those that have none stay, neutralised before or not."""
        if isinstance(value, str):
            return self.neutralise(value) if self.is_armed(value) else value
        if isinstance(value, list):
            return [self.disarm(item) for item in value]
        if isinstance(value, dict):
            return {self.disarm(key): self.disarm(item) for key, item in value.items()}
        return value

    def clip(self, text: str, max_tokens: int) -> str:
        """The first and the last part of `text` around a mark that counts the tokens left out: at most
        `max_tokens` tokens in all. The first part alone where there is no room for a mark."""
        if text.isascii() and len(text) < max_tokens:  # some tokenizers begin with a token that has no character
            return text
        spans = self._locate(text)
        if len(spans) <= max_tokens:
            return text
        both = self._fit(lambda kept: _ends(text, spans, kept), max_tokens)
        return both or self._fit(lambda kept: text[: spans[kept - 1][1]], max_tokens)

    def _fit(self, show: Callable[[int], str], max_tokens: int) -> str:
        """What `show` makes of as many tokens as may be shown; text that is cut and joined has other tokens."""
        kept = max_tokens
        while kept > 0:
            shown = show(kept)
            excess = len(self._locate(shown)) - max_tokens
            if excess <= 0:
                return shown
            kept -= excess
        return ""

    def _starts(self, text: str, tags: tuple[str, ...]) -> set[int]:
        """Where markers and tags begin in `text`, those within others too."""
        folded = _fold(text)
        if not any(first in folded for first in self._firsts):  # much faster than the pattern
            return set()
        return {found.start() for found in self._pattern(tags).finditer(folded)}

    def _make_pattern(self, tags: tuple[str, ...]) -> re.Pattern[str]:
        """Matches the first character of a marker or tag, where the rest of it follows."""
        kinds = [
            f"{re.escape(first)}(?={_any_of([marker[1:] for marker in group])})"
            for first, group in groupby(self._markers, lambda marker: marker[0])
        ]
        if tags:
            kinds.append(rf"<(?=(?i:\s*+(?:/\s*+)?(?:{'|'.join(map(re.escape, tags))})\b))")
        return re.compile("|".join(kinds) or "(?!)")


def _any_of(words: list[str]) -> str:
    """A pattern for sorted words, none of which begins another; thousands may, as each beginning is tried once."""
    if len(words) == 1:
        return re.escape(words[0])
    branches = [
        re.escape(first) + _any_of([word[1:] for word in group])
        for first, group in groupby(words, lambda word: word[0])
    ]
    return f"(?:{'|'.join(branches)})" if len(branches) > 1 else branches[0]


def _ends(text: str, spans: Sequence[Span], kept: int) -> str:
    """Both ends of `text`, `kept` tokens of it, around the mark. No character is cut within."""
    head, tail = (kept + 1) // 2, len(spans) - kept // 2
    while 0 < head < len(spans) and spans[head][0] < spans[head - 1][1]:
        head -= 1
    while 0 < tail < len(spans) and spans[tail][0] < spans[tail - 1][1]:
        tail += 1
    first = text[: spans[head - 1][1]] if head else ""
    last = text[spans[tail][0] :] if tail < len(spans) else ""
    return f"{first}{MARK.format(tail - head)}{last}"


def _fold(text: str) -> str:
    """`text` as tokenizers that normalise it would read it, character by character: the wide `＜` is `<`."""
    return text if text.isascii() else "".join(map(_fold_character, text))


@lru_cache(maxsize=65536)
def _fold_character(character: str) -> str:
    folded = unicodedata.normalize("NFKC", character)
    return folded if len(folded) == 1 else character
