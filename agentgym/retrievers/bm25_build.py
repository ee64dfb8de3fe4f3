"""Builds a BM25 index on disk in bounded memory: part by part, each of which is kept should the builder be killed.

The index is a folder that bm25s itself can load, with the passages beside it.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import bm25s
import msgspec
import numpy as np

from agentgym.retriever import Progress, Skipped
from agentgym.retrievers.analyzer import Vocabulary, analyzer
from agentgym.retrievers.bm25_index import load_index
from agentgym.retrievers.corpus import Account, read_corpus
from agentgym.retrievers.folder import WORK
from agentgym.retrievers.passages import ENDS, LINES, encode
from agentgym.retrievers.postings import Postings, add_up, count, score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentgym.retrievers.bm25s import Bm25s

PART = 4_000_000  # terms, repetitions included, that are counted in one go
_TOLD = 2000  # passages between two reports of progress
_CHECKED = 16  # passages


@dataclass(frozen=True)
class Builder:
    """Makes the index that `config` describes of the files in `paths`."""

    config: Bm25s
    paths: Sequence[str]

    def __call__(self, draft: Path, progress: Progress) -> tuple[int, Mapping[str, Skipped]]:
        """See folder.Make. Raises TaskError for a corpus without passages."""
        (draft / WORK).mkdir(exist_ok=True)
        vocabulary = Vocabulary(analyzer(self.config.stemmer, self.config.stopwords))
        account = Account()
        self._count(draft, vocabulary, account, progress)
        account.check(self.paths)
        self._score(draft, vocabulary, account.passages, progress)
        progress("checking", account.passages)
        self._check(draft)
        return account.passages, account.skipped

    def _count(self, draft: Path, vocabulary: Vocabulary, account: Account, progress: Progress) -> None:
        """Store the passages and the parts of their postings, after those that are there already.

        The corpus is read again from its beginning, for the account and the ids.
        """
        parts = _parts(draft)
        ends = array("Q")
        for file in parts:
            ends.extend(_load(file, "ends")[0].tolist())
            for term in msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=list[str]):
                vocabulary.terms.setdefault(term, len(vocabulary.terms))
        passages = read_corpus(self.paths, account, self.config.strict)
        for done, _ in enumerate(islice(passages, len(ends))):
            if done % _TOLD == 0:
                progress("reading again what was indexed before", done)
        with open(draft / LINES, "r+b" if ends else "wb") as lines:
            lines.truncate(ends[-1] if ends else 0)
            lines.seek(0, os.SEEK_END)
            number = len(parts)
            while self._part(draft / WORK / f"{number:05}", passages, vocabulary, ends, lines, progress):
                number += 1
        np.save(draft / ENDS, np.array(ends))

    def _part(
        self,
        path: Path,
        passages: Iterator[Any],
        vocabulary: Vocabulary,
        ends: array[int],
        lines: BinaryIO,
        progress: Progress,
    ) -> bool:
        """Read and count one part; False at the end of the corpus."""
        first, known = len(ends), len(vocabulary.terms)
        numbers, lengths = array("i"), array("i")
        for passage in passages:
            if len(ends) % _TOLD == 0:
                progress("indexing", len(ends))
            lines.write(encode(passage) + b"\n")
            ends.append(lines.tell())
            found = vocabulary.numbers(passage.searched)
            numbers.extend(found)
            lengths.append(len(found))
            if len(numbers) >= PART:
                break
        if len(ends) == first:
            return False
        lines.flush()
        os.fsync(lines.fileno())
        path.with_suffix(".json").write_bytes(encode(list(islice(vocabulary.terms, known, None))))
        postings = count(numbers, lengths, first)
        draft = path.with_suffix(".new.npz")
        np.savez(draft, **postings._asdict(), ends=np.array(ends[first:]))
        draft.rename(path.with_suffix(".npz"))
        return True

    def _score(self, draft: Path, vocabulary: Vocabulary, passages: int, progress: Progress) -> None:
        """Write the files of bm25s's own format."""

        def room(name: str, size: int, dtype: Any) -> NDArray[Any]:
            return np.lib.format.open_memmap(draft / f"{name}.csc.index.npy", "w+", dtype, (size,))

        def postings() -> Iterator[Postings]:
            for file in _parts(draft):
                progress("scoring", passages)
                yield Postings(*_load(file, *Postings._fields))

        totals = add_up(postings(), len(vocabulary.terms))
        scores = score(postings(), totals, self.config.k1, self.config.b, room)
        np.save(draft / "indptr.csc.index.npy", scores.starts)
        (draft / "vocab.index.json").write_bytes(encode(vocabulary.terms))
        about = {"k1": self.config.k1, "b": self.config.b, "method": "lucene", "num_docs": passages}
        (draft / "params.index.json").write_bytes(encode({**about, "version": bm25s.__version__}))

    def _check(self, draft: Path) -> None:
        """Some passages, among them the first and the last, must be found by what they say."""
        index = load_index(draft, self.config)
        last = len(index.passages) - 1
        for number in {*range(0, last, last // _CHECKED + 1), last}:
            if not index.finds(number):
                passage = index.passages[number]
                raise RuntimeError(f"index {draft}: passage {passage.id!r} is not found by its own text")
        index.close()


def _parts(draft: Path) -> list[Path]:
    return sorted(file for file in (draft / WORK).glob("*.npz") if file.stem.isdigit())


def _load(file: Path, *names: str) -> list[NDArray[Any]]:
    with np.load(file) as arrays:
        return [arrays[name] for name in names]
