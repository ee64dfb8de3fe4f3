"""Text of sampled ids, byte by byte, and stop texts in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def token_bytes(tokenizer: Any, size: int) -> list[bytes]:
    """The bytes each id below `size` adds to the text; ids the tokenizer does not know add none.

    Byte-level BPE and SentencePiece's byte fallback are undone exactly; other tokenizers' tokens are
    decoded one by one.
    """
    added = {index: token.content for index, token in tokenizer.added_tokens_decoder.items()}
    known = min(size, len(tokenizer))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = json.loads(backend.to_str())["decoder"] if backend is not None else None
    kinds = _kinds(decoder)
    table = []
    for index in range(known):
        token = tokenizer.convert_ids_to_tokens(index)
        if index in added or token is None:
            piece = added.get(index, "").encode()
        elif "ByteLevel" in kinds:
            piece = b"".join(_UNICODE_TO_BYTE[c] if c in _UNICODE_TO_BYTE else c.encode() for c in token)
        elif "ByteFallback" in kinds:
            is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
            piece = bytes([int(token[3:5], 16)]) if is_byte else token.replace("▁", " ").encode()
        else:
            piece = tokenizer.decode([index]).encode()
        table.append(piece)
    return table + [b""] * (size - known)


def eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokenizer's end-of-turn id and those of the model's generation config."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (*listed, tokenizer.eos_token_id) if i is not None)


def _kinds(decoder: dict[str, Any] | None) -> set[str]:
    """The types of a tokenizers decoder and, in a sequence, of its parts."""
    if decoder is None:
        return set()
    return {decoder["type"], *(part["type"] for part in decoder.get("decoders", []))}


def _unicode_to_byte() -> dict[str, bytes]:
    """Byte-level BPE writes printable Latin-1 bytes as themselves and the others, in order, from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): bytes([byte]) for byte in printable}
    return table | {chr(0x100 + i): bytes([byte]) for i, byte in enumerate(others)}


_UNICODE_TO_BYTE = _unicode_to_byte()


class StopFinder:
    """Looks for stop texts in a growing text, at the cost of its new part.

    Bytes are compared: UTF-8 has no false matches, and characters may arrive in pieces.
    """

    __slots__ = ("_keep", "_stops", "_tail")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop.encode() for stop in stops]
        self._keep = max((len(stop) for stop in self._stops), default=1) - 1
        self._tail = b""

    def add(self, piece: bytes) -> bool:
        """Whether a stop text ends in `piece`, which is added to the text."""
        text, before = self._tail + piece, len(self._tail)
        self._tail = text[len(text) - self._keep :] if len(text) > self._keep else text
        return any(text.find(stop, max(0, before - len(stop) + 1)) >= 0 for stop in self._stops)
