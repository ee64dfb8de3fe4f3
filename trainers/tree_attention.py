"""Attention over a packed forest: a segment sees its own path and nothing else.

Queries and keys are gathered into buckets of segments with similar lengths, each with its path's keys in front
of its own, for torch's plain attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from agentgym.trainers.pack import Pack, Segment

_WASTE = 1.25
"""A bucket's padded attention may cost this much more than its pieces' own."""
_SHORTEST = 128
"""Longer segments are cut, into pieces of this or of a quarter of their path: masks hide the keys that come after
a query, but do not spare them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens `start` to `end` of a segment, and the path they attend to."""

    segment: Segment
    start: int
    end: int

    @property
    def queries(self) -> int:
        """How many."""
        return self.end - self.start

    @property
    def keys(self) -> int:
        """How many: the path from the root to its last token."""
        return self.segment.position + self.end


@dataclass(slots=True)
class Bucket:
    """Pieces attended to together.

    queries [N, Lq], keys [N, Lk]: row indices, padded with 0. last [N, Lq]: the key that a query stands on.
    places: flat positions in [N * Lq] of the queries that are no padding. rows: their rows.
    """

    queries: Tensor
    keys: Tensor
    last: Tensor
    places: Tensor
    rows: Tensor

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[N, 1, Lq, Lk] to add to the scores; None where causal attention says the same."""
        n, longest = self.keys.shape
        if n == 1 and self.queries.shape[1] == longest and (window is None or window >= longest):
            return None
        keys = torch.arange(longest, device=self.keys.device)
        hidden = keys > self.last[:, :, None]
        if window is not None:
            hidden |= keys <= self.last[:, :, None] - window
        return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)[
            :, None
        ]


class BucketPlan:
    """A pack's attention. order: for each row, where its output stands in the buckets' concatenated results."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        pieces = [piece for segment in pack.segments for piece in _cut(segment)]
        pieces.sort(key=lambda piece: (piece.queries, piece.keys))
        self.buckets = [_bucket(pack.segments, chosen, device) for chosen in _similar(pieces)]
        rows = torch.cat([bucket.rows for bucket in self.buckets])
        self.order = torch.empty_like(rows)
        self.order[rows] = torch.arange(len(rows), device=device)
        self.masks: dict[int | None, list[Tensor | None]] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """See `Plan`."""
        heads, kv_heads, dim = query.shape[1], key.shape[1], query.shape[3]
        q, k, v = (x[0].transpose(0, 1).reshape(x.shape[2], -1) for x in (query, key, value))  # [T, heads * D]
        if window not in self.masks:
            self.masks[window] = [bucket.mask(window, query.dtype) for bucket in self.buckets]
        outputs = []
        for bucket, mask in zip(self.buckets, self.masks[window], strict=True):
            n, lq = bucket.queries.shape
            bq = q[bucket.queries].view(n, lq, heads, dim).transpose(1, 2)
            bk, bv = (x[bucket.keys].view(n, -1, kv_heads, dim).transpose(1, 2) for x in (k, v))
            if kv_heads != heads:
                bk, bv = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (bk, bv))
            out = F.scaled_dot_product_attention(bq, bk, bv, attn_mask=mask, is_causal=mask is None, scale=scale)
            outputs.append(out.transpose(1, 2).reshape(n * lq, heads * dim)[bucket.places])
        return torch.cat(outputs)[self.order].view(1, -1, heads, dim)


def _cut(segment: Segment) -> Iterator[Piece]:
    length = len(segment.ids)
    step = max(_SHORTEST, (segment.position + length) // 4)
    for start in range(0, length, step):
        yield Piece(segment, start, min(start + step, length))


def _similar(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Split the pieces where padding would cost more than allowed."""
    chosen: list[Piece] = []
    own, queries, keys = 0, 0, 0
    for piece in pieces:
        cost = piece.queries * piece.keys
        padded = (len(chosen) + 1) * max(queries, piece.queries) * max(keys, piece.keys)
        if chosen and padded > _WASTE * (own + cost) + 4096:
            yield chosen
            chosen, own, queries, keys = [], 0, 0, 0
        chosen.append(piece)
        own, queries, keys = own + cost, max(queries, piece.queries), max(keys, piece.keys)
    if chosen:
        yield chosen


def _bucket(segments: Sequence[Segment], chosen: Sequence[Piece], device: torch.device) -> Bucket:
    queries = [torch.arange(piece.start, piece.end) + piece.segment.offset for piece in chosen]
    keys = [torch.cat([*_ancestors(segments, p.segment), torch.arange(p.end) + p.segment.offset]) for p in chosen]
    lengths = torch.tensor([piece.queries for piece in chosen])
    starts = torch.tensor([piece.segment.position + piece.start for piece in chosen])
    pad = torch.nn.utils.rnn.pad_sequence
    query_rows, key_rows = pad(queries, batch_first=True), pad(keys, batch_first=True)
    steps = torch.arange(query_rows.shape[1])
    last = starts[:, None] + torch.minimum(steps, lengths[:, None] - 1)  # padding sees something too: no NaN
    places = (steps < lengths[:, None]).flatten().nonzero()[:, 0]
    return Bucket(*(x.to(device) for x in (query_rows, key_rows, last, places, torch.cat(queries))))


def _ancestors(segments: Sequence[Segment], segment: Segment) -> list[Tensor]:
    """Rows of the path before a segment, root first. A parent may go on after the fork: only its part counts."""
    rows: list[Tensor] = []
    position, parent = segment.position, segment.parent
    while parent is not None:
        above = segments[parent]
        rows.append(torch.arange(position - above.position) + above.offset)
        position, parent = above.position, above.parent
    return rows[::-1]
