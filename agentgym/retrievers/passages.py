"""Passages on disk, of which any can be read: a JSONL file, mapped into memory, and where its lines end."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import msgspec
import numpy as np

from agentgym.retriever import Passage

LINES, ENDS = "passages.jsonl", "passages.ends.npy"

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Passage).decode


class StoredPassages(Sequence[Passage]):
    """Those in a folder. Processes share the memory."""

    def __init__(self, folder: Path) -> None:
        self._ends = np.load(folder / ENDS, mmap_mode="r")
        with (folder / LINES).open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, number: int) -> Passage: ...
    @overload
    def __getitem__(self, number: slice) -> list[Passage]: ...
    def __getitem__(self, number: int | slice) -> Passage | list[Passage]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        begin = int(self._ends[number - 1]) if number else 0
        return _decode(self._lines[begin : int(self._ends[number])])

    def close(self) -> None:
        """Unmap the lines."""
        self._lines.close()
