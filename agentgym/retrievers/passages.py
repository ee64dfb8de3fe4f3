"""Passages on disk, of which any can be read: a JSONL file, mapped into memory, and where its lines end."""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import msgspec
import numpy as np

from agentgym.retriever import Passage

LINES, ENDS = "passages.jsonl", "passages.ends.npy"

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Passage).decode


def store(folder: Path, passages: Iterable[Passage]) -> Iterator[Passage]:
    """Write passages to a folder as they pass by; they are whole when all have."""
    ends = array("Q")
    with (folder / LINES).open("wb") as lines:
        for passage in passages:
            lines.write(encode(passage) + b"\n")
            ends.append(lines.tell())
            yield passage
    np.save(folder / ENDS, np.array(ends))


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
        """Unmap the files."""
        self._lines.close()
        self._ends = np.empty(0, np.uint64)
