"""One padded row for each trajectory, or for each stretch of it in which nothing was taken back, through the
model's own attention.

For models that cannot attend by plans (see `tree_rows.py`), and as the baseline that packed trees are measured
against. Gradients are the same; a prefix is computed once for each of its trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from agentgym.trainers.base import Scored
from agentgym.trainers.layout import Inputs, make_inputs
from agentgym.trainers.pack import Entry, Pack, Segment


class FlatRows:
    """The layout `flat`. A pack holds trajectories of similar lengths, and padding counts as tokens."""

    def __init__(self, model: Any) -> None:
        self.device = next(model.parameters()).device

    def packs(self, batch: Sequence[Scored], weights: Sequence[float], max_tokens: int) -> Iterator[Pack]:
        """See `Layout`."""
        kept = [(s, w) for s, w in zip(batch, weights, strict=True) if w and s.length]
        rows = [(segment, entries) for s, w in kept for segment, entries in _rows(s, w) if entries]
        rows.sort(key=lambda row: len(row[0].ids))
        pack = Pack()
        for segment, entries in rows:
            if pack.segments and (len(pack.segments) + 1) * len(segment.ids) > max_tokens:
                yield _close(pack)
                pack = Pack()
            for entry in entries:
                entry.segment = len(pack.segments)
            pack.segments.append(segment)
            pack.entries += entries
        if pack.segments:
            yield _close(pack)

    def inputs(self, pack: Pack, dtype: torch.dtype) -> Inputs:
        """See `Layout`."""
        lengths = torch.tensor([len(segment.ids) for segment in pack.segments], device=self.device)
        rows = [torch.tensor(segment.ids) for segment in pack.segments]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
        real = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        return make_inputs(pack, ids, {"attention_mask": real.long()}, dtype)


def _rows(scored: Scored, weight: float) -> Iterator[tuple[Segment, list[Entry]]]:
    """A trajectory from its first token to its last, in rows of all that the policy saw, and their entries."""
    segment, entries = Segment(None, 0), list[Entry]()
    for index, tokens in scored.by_token():
        turn = scored.group.turns[index]
        if turn.recalled is not None:
            yield segment, entries
            segment, entries = Segment(None, 0, list(turn.recalled)), []
        segment.ids += turn.context.ids
        start = len(segment.ids)
        entries += [Entry.of(token, 0, start + i, weight) for i, token in enumerate(tokens)]
        segment.ids += turn.action.ids
    yield segment, entries


def _close(pack: Pack) -> Pack:
    longest = max(len(segment.ids) for segment in pack.segments)
    for number, segment in enumerate(pack.segments):
        segment.offset = number * longest
    return pack
