"""Trajectories to batches in which every token of a tree is computed once.

A pack is one row of tokens: the forest's segments one after another, each shared prefix once. Position ids
count along the path, and a segment attends to its own path only. A token's prediction is read where its
predecessor along the path stands, so branches that start from the same token share that hidden state. Where
something was taken back, the path goes on after the last token that is still the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentgym.trainers.base import Learned, Scored
from agentgym.types import Group, Turn


@dataclass(slots=True)
class Segment:
    """A run of tokens without a fork.

    parent: index of the segment it continues. position: of its first token along the path. offset: of its first
    token in the row, set when the pack is closed. sealed: a prompt, or continued by another segment.
    """

    parent: int | None
    position: int
    ids: list[int] = field(default_factory=list)
    offset: int = 0
    sealed: bool = False


@dataclass(slots=True)
class Entry:
    """A trained token as one trajectory sees it.

    segment, index: where the token stands. old_logprob, value, goal: see base.Learned.
    """

    segment: int
    index: int
    old_logprob: float
    advantage: float
    weight: float
    value: float = 0.0
    goal: float = 0.0

    @classmethod
    def of(cls, token: Learned, segment: int, index: int, weight: float) -> Entry:
        return cls(segment, index, token.old_logprob, token.advantage, weight, token.value, token.goal)


@dataclass(slots=True)
class Pack:
    """A micro-batch: segments and the entries of the loss."""

    segments: list[Segment] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Unique tokens."""
        return sum(len(s.ids) for s in self.segments)


def pack_trajectories(batch: Sequence[Scored], weights: Sequence[float], max_tokens: int) -> Iterator[Pack]:
    """Packs of at most `max_tokens` unique tokens (or one trajectory), in order. weights: what each token of a
    trajectory weighs in the loss; trajectories of weight 0 are left out."""
    pack, placed, size = Pack(), _Placed(), 0
    for scored, weight in zip(batch, weights, strict=True):
        if weight == 0.0 or scored.length == 0:
            continue
        new = placed.new_tokens(scored)
        if size and size + new > max_tokens:
            yield _close(pack)
            pack, placed, size = Pack(), _Placed(), 0
            new = placed.new_tokens(scored)
        _add(pack, placed, scored, weight)
        size += new
    if pack.entries:
        yield _close(pack)


_Key = tuple[str, int | tuple[int, ...] | None, tuple[int, ...]]


@dataclass(slots=True)
class _Placed:
    """What of a forest stands in the pack already, and where it ends: the segment, and the end within it.

    contexts: what turns begin with, by group, what comes before (the parent, or the ids that it recalls) and ids;
    turns that read the same after the same share it. turns: by group and index.
    """

    contexts: dict[_Key, tuple[int, int]] = field(default_factory=dict)
    turns: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def new_tokens(self, scored: Scored) -> int:
        group, count = scored.group, 0
        needed = _needed(scored)
        for index in needed:
            turn = group.turns[index]
            if (group.id, index) in self.turns:
                continue
            count += len(turn.action)
            if _key(group, turn) not in self.contexts:
                follows = turn.parent in needed or (group.id, turn.parent) in self.turns
                count += len(_begin(group, turn, follows)[1])
        return count


def _needed(scored: Scored) -> list[int]:
    """The turns that are learned from, and those that stand before them in the context, root to leaf."""
    found: list[int] = []
    wanted = False
    for index in reversed(scored.group.path(scored.leaf)):
        turn = scored.group.turns[index]
        wanted = wanted or turn.agent not in scored.frozen
        if wanted:
            found.append(index)
        wanted = wanted and turn.recalled is None
    return found[::-1]


def _add(pack: Pack, placed: _Placed, scored: Scored, weight: float) -> None:
    """Place the trajectory's turns, and enter each of its sampled tokens."""
    group = scored.group
    learned = dict(scored.by_token())
    for index in _needed(scored):
        turn, tokens = group.turns[index], learned[index]
        if (group.id, index) not in placed.turns:
            context = _context(pack, placed, group, turn)
            placed.turns[group.id, index] = _extend(pack, context, turn.action.ids)
        segment, end = placed.turns[group.id, index]
        start = end - len(turn.action)
        pack.entries += [Entry.of(token, segment, start + i, weight) for i, token in enumerate(tokens)]


def _context(pack: Pack, placed: _Placed, group: Group, turn: Turn) -> tuple[int, int]:
    """Where the turn's context ends: a prompt, a segment of its own, or the observation after the parent."""
    key = _key(group, turn)
    if key not in placed.contexts:
        where = None if turn.parent is None else placed.turns.get((group.id, turn.parent))
        kept, ids = _begin(group, turn, where is not None)
        if where is not None and kept is not None:
            where = _back(pack, where, kept)
        if where is None:
            pack.segments.append(Segment(None, 0, list(ids), sealed=True))
            placed.contexts[key] = len(pack.segments) - 1, len(ids)
        else:
            placed.contexts[key] = _extend(pack, where, ids)
    return placed.contexts[key]


def _key(group: Group, turn: Turn) -> _Key:
    return group.id, turn.parent if turn.recalled is None else turn.recalled, turn.context.ids


def _begin(group: Group, turn: Turn, follows: bool) -> tuple[int | None, tuple[int, ...]]:
    """After how many tokens of its parent's path the turn goes on, None for all, and its context from there on.
    follows: the parent stands in the pack."""
    if turn.recalled is None:
        return None, turn.context.ids
    ids = turn.recalled + turn.context.ids
    if not follows or turn.parent is None:
        return 0, ids
    before = group.seen(turn.parent) + group.turns[turn.parent].action.ids
    shorter = min(len(before), len(ids))
    kept = next((i for i in range(shorter) if before[i] != ids[i]), shorter)
    return kept, ids[kept:]


def _back(pack: Pack, where: tuple[int, int], length: int) -> tuple[int, int] | None:
    """The place on the path to `where` that has `length` tokens before it; None at the very beginning."""
    at: int | None = where[0]
    while at is not None and pack.segments[at].position >= length:
        at = pack.segments[at].parent
    return None if at is None else (at, length - pack.segments[at].position)


def _extend(pack: Pack, where: tuple[int, int], ids: tuple[int, ...]) -> tuple[int, int]:
    """Append to the segment when nothing follows there yet and it is no prompt; else start a new one."""
    if not ids:
        return where
    at, end = where
    segment = pack.segments[at]
    if segment.sealed or end < len(segment.ids):
        segment.sealed = True
        pack.segments.append(Segment(at, segment.position + end))
        at, segment = len(pack.segments) - 1, pack.segments[-1]
    segment.ids += ids
    return at, len(segment.ids)


def _close(pack: Pack) -> Pack:
    offset = 0
    for segment in pack.segments:
        segment.offset = offset
        offset += len(segment.ids)
    return pack
