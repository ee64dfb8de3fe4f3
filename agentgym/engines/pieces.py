"""A conversation as numbers, for models whose tokens nobody tells: each id is a piece of it.

A piece is the opening of a message, a bit of text, or the end of a turn. A message's text runs up to the next
opening, whatever it says: no text is ever taken for an opening, nor for an end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

END = 0
"""The id of the end of a turn."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a message begins. about: all of the message but its content, as JSON."""

    about: str


class Pieces:
    """Numbers pieces as they come; the same piece has the same id. Bits of text are UTF-8, cut anywhere."""

    def __init__(self) -> None:
        self._pieces: list[Opening | bytes] = [b""]
        self._ids: dict[Opening | bytes, int] = {}

    def open(self, about: dict[str, Any]) -> int:
        """The id of an opening."""
        return self._number(Opening(json.dumps(about)))

    def write(self, bits: Iterable[bytes]) -> tuple[int, ...]:
        """The ids of bits of text."""
        return tuple(map(self._number, bits))

    def text(self, ids: Sequence[int]) -> str:
        """The text in them, and nothing of openings and ends. Half a character becomes U+FFFD."""
        pieces = (self._pieces[index] for index in ids)
        return b"".join(piece for piece in pieces if isinstance(piece, bytes)).decode(errors="replace")

    def openings(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Where messages begin in them, and all of each but its content."""
        found = ((at, self._pieces[index]) for at, index in enumerate(ids))
        return {at: json.loads(piece.about) for at, piece in found if isinstance(piece, Opening)}

    def messages(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """The messages that they are, the last one as far as it goes. Raises ValueError for text before any."""
        openings = self.openings(ids)
        if ids and 0 not in openings:
            raise ValueError("a conversation begins with the opening of a message")
        ends = [*openings, len(ids)][1:]
        return [
            {**about, "content": self.text(ids[start:end])}
            for (start, about), end in zip(openings.items(), ends, strict=True)
        ]

    def _number(self, piece: Opening | bytes) -> int:
        index = self._ids.get(piece)
        if index is None:
            index = self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return index
