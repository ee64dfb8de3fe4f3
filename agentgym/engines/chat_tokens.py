"""A reply of a chat API as tokens: as many pieces as the server says it sampled, cut where it says they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from agentgym.api.wire import Sampled
from agentgym.engines.chat_reply import Reply
from agentgym.engines.top_entropy import lowest_entropy
from agentgym.vocabulary import estimate, spread

UNKNOWN = Sampled("", 0.0)
"""A token that the server does not tell of, as many do not tell of the end of a turn, or of a stop text."""


@dataclass(frozen=True, slots=True)
class Bits:
    """texts: UTF-8, cut anywhere. known: what the server tells of each, and then of the end where the reply ended;
    None where it tells nothing."""

    texts: list[bytes]
    known: list[Sampled] | None

    @property
    def logprobs(self) -> tuple[float, ...] | None:
        return None if self.known is None else tuple(token.logprob for token in self.known)

    @property
    def entropy(self) -> tuple[float, ...] | None:
        """The lower bound: the tail as one token. None where no other tokens are told of."""
        if self.known is None or not any(token.top_logprobs for token in self.known):
            return None
        return tuple(lowest_entropy([top.logprob for top in t.top_logprobs] or [0.0]) for t in self.known)


def cut(reply: Reply, text: str, ended: bool) -> Bits:
    """What was kept of a reply, `text`, as bits. ended: an end comes after them."""
    kept = text.encode(errors="replace")
    if reply.sampled:
        texts = [token.token.encode() if token.bytes is None else bytes(token.bytes) for token in reply.sampled]
        told = b"".join(texts)
        if told.startswith(kept):
            return _as_told(reply.sampled, texts, kept, ended)
        if kept.startswith(told):
            return _with_unknown(reply.sampled, [*texts, kept[len(told) :]], ended)
        if reply.tokens is None or reply.tokens - len(texts) in (0, ended):
            count = max(len(texts) - (ended and reply.tokens == len(texts)), 1)
            return _with_unknown(reply.sampled, _evenly(text, count), ended)
    return Bits(_evenly(text, _count(reply, text, ended)), None)


def _as_told(sampled: Sequence[Sampled], texts: Sequence[bytes], kept: bytes, ended: bool) -> Bits:
    """The first tokens that have the text, the last of them cut to it."""
    sizes = [0, *accumulate(map(len, texts))]
    count = next(n for n, size in enumerate(sizes) if size >= len(kept))
    bits = list(texts[:count])
    if bits:
        bits[-1] = bits[-1][: len(bits[-1]) - (sizes[count] - len(kept))]
    return _with_unknown(sampled, bits, ended)


def _with_unknown(sampled: Sequence[Sampled], bits: list[bytes], ended: bool) -> Bits:
    count = len(bits) + ended
    return Bits(bits, [*sampled[:count], *[UNKNOWN] * (count - len(sampled))])


def _evenly(text: str, count: int) -> list[bytes]:
    return [text[a:b].encode(errors="replace") for a, b in spread(text, count)]


def _count(reply: Reply, text: str, ended: bool) -> int:
    """Bits of the text: of a reply that was cut, in proportion."""
    if reply.tokens is None:
        return len(estimate(text))
    whole = reply.tokens - ended
    if len(text) < len(reply.text):
        whole = -(-whole * len(text) // len(reply.text))
    return max(whole, 1 if text else 0)
