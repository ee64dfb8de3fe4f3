"""Which term is in which passage how often, and BM25's scores of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


class Postings(NamedTuple):
    """Of consecutive passages: for each term in each passage one entry, sorted by term and then by passage.

    lengths: terms of each passage, repetitions included.
    """

    terms: Ints
    passages: Ints
    counts: Ints
    lengths: Ints


class Scores(NamedTuple):
    """For each term, from `starts[term]` to `starts[term + 1]`, the passages that have it and its scores there."""

    data: Floats
    passages: Ints
    starts: NDArray[np.int64]


class Totals(NamedTuple):
    """Of a whole corpus. frequency: of each term, the passages that have it."""

    passages: int
    nonempty: int
    length: int
    frequency: NDArray[np.int64]


def count(terms: Sequence[int], lengths: Sequence[int], first: int) -> Postings:
    """Postings of passages that are numbered from `first`, whose terms stand one after the other."""
    sizes = np.asarray(lengths, np.int32)
    owners = np.repeat(np.arange(first, first + len(sizes), dtype=np.int64), sizes)
    keys, counts = np.unique(np.asarray(terms, np.int64) << 32 | owners, return_counts=True)
    return Postings(
        (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32), counts.astype(np.int32), sizes
    )


def add_up(parts: Iterable[Postings], terms: int) -> Totals:
    """The totals of all parts, with `terms` terms in the vocabulary."""
    frequency = np.zeros(terms, np.int64)
    passages = nonempty = length = 0
    for part in parts:
        frequency += np.bincount(part.terms, minlength=terms)
        passages += len(part.lengths)
        nonempty += int(np.count_nonzero(part.lengths))
        length += int(part.lengths.sum(dtype=np.int64))
    return Totals(passages, nonempty, length, frequency)


def score(
    parts: Iterable[Postings], totals: Totals, k1: float, b: float, room: Callable[[str, int, Any], NDArray[Any]]
) -> Scores:
    """Lucene's BM25: idf = ln(1 + (N - n + 0.5) / (n + 0.5)), tf / (tf + k1 (1 - b + b length / mean length)).

    N and the mean are of the passages that have a term. `room(name, size, dtype)` gives the arrays to fill. The
    parts come in the order of their passages.
    """
    starts = np.zeros(len(totals.frequency) + 1, np.int64)
    np.cumsum(totals.frequency, out=starts[1:])
    size = int(starts[-1])
    data, passages = room("data", size, np.float32), room("indices", size, np.int32)
    idf = np.log1p((totals.nonempty - totals.frequency + 0.5) / (totals.frequency + 0.5))
    mean = totals.length / max(totals.nonempty, 1)
    heads = starts[:-1].copy()
    first = 0
    for part in parts:
        norms = k1 * (1 - b + b * part.lengths / max(mean, 1))
        places = heads[part.terms] + _rank(part.terms)
        data[places] = idf[part.terms] * part.counts / (part.counts + norms[part.passages - first])
        passages[places] = part.passages
        heads += np.bincount(part.terms, minlength=len(heads))
        first += len(part.lengths)
    return Scores(data, passages, starts)


def _rank(terms: Ints) -> NDArray[np.int64]:
    """How many entries of the same term stand before each, in sorted terms."""
    places = np.arange(len(terms))
    begins = np.flatnonzero(np.diff(terms, prepend=-1))
    return places - np.repeat(begins, np.diff(begins, append=len(terms)))
