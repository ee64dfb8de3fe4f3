"""Who lives in which slot of the KV cache."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.engines.kv_cache import KVCache


@dataclass(slots=True, eq=False)
class Resident:
    """A sequence that owns a slot. cached: leading ids whose keys and values are there. prompt: the ids of
    its last call."""

    ids: list[int]
    slot: int
    session: str | None
    cached: int = 0
    prompt: tuple[int, ...] = ()

    def common_prefix(self, ids: list[int]) -> int:
        """Tokens of `ids` that need no computing: all but the last at most, since its logits are wanted."""
        limit = min(self.cached, len(ids) - 1)
        if self.ids[:limit] == ids[:limit]:
            return limit
        return next(i for i in range(limit) if self.ids[i] != ids[i])


class Slots:
    """The residents of a cache. Those being decoded are kept in slots 0..active-1, so that a decode step
    reads the cache as one view; prefilling and idle ones live above."""

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self.active = 0
        self.sessions: dict[str, Resident] = {}
        self._prompts: dict[tuple[int, ...], Resident] = {}
        self._owners: list[Resident | None] = []
        self._idle: dict[Resident, None] = {}

    @property
    def used(self) -> int:
        """Slots with a resident."""
        return len(self._owners) - self._owners.count(None)

    @property
    def full(self) -> bool:
        """No slot is free and none can be freed."""
        return self.used == self.cache.max_slots and not self._idle

    def settle(self, session: str | None, length: int) -> Resident:
        """A slot for a new sequence of up to `length` tokens; the longest idle resident leaves if it must.
        Only when not `full`."""
        if self.used == self.cache.max_slots:
            self.evict(next(iter(self._idle)))
        if None not in self._owners:
            self._owners.append(None)
        slot = self._owners.index(None)
        self.cache.reserve(slot + 1, length)
        resident = Resident([], slot, session)
        self._owners[slot] = resident
        if session is not None:
            self.sessions[session] = resident
        return resident

    def evict(self, resident: Resident) -> None:
        """Free its slot, wherever it is."""
        self.retire(resident)
        self._idle.pop(resident)
        self._owners[resident.slot] = None
        self._forget_prompt(resident)
        self.end_session(resident)

    def end_session(self, resident: Resident) -> None:
        """It lives only as long as its present call."""
        if resident.session is not None:
            del self.sessions[resident.session]
            resident.session = None

    def relatives(self, ids: list[int], session: str | None, parent: str | None) -> list[Resident]:
        """Residents likely to share a prefix with `ids`: the session itself, its parent, and the last one
        with the same prompt."""
        found = (self.sessions.get(session or ""), self.sessions.get(parent or ""), self._prompts.get(tuple(ids)))
        return [resident for resident in found if resident is not None]

    def remember_prompt(self, resident: Resident) -> None:
        """Let later calls with the same ids find it."""
        self._forget_prompt(resident)
        resident.prompt = tuple(resident.ids)
        self._prompts[resident.prompt] = resident

    def _forget_prompt(self, resident: Resident) -> None:
        if self._prompts.get(resident.prompt) is resident:
            del self._prompts[resident.prompt]

    def inherit(self, heir: Resident, donor: Resident, length: int) -> None:
        """Copy the donor's first `length` tokens. A donor evicted to make room for the heir left them there."""
        if donor.slot != heir.slot:
            self.cache.copy(donor.slot, heir.slot, length)

    def evict_idle(self) -> None:
        """Free every idle slot."""
        for resident in list(self._idle):
            self.evict(resident)

    def wake(self, resident: Resident) -> None:
        """An idle resident is in use again."""
        self._idle.pop(resident)

    def is_idle(self, resident: Resident) -> bool:
        """Whether it may be evicted."""
        return resident in self._idle

    def activate(self, resident: Resident) -> None:
        """Move it to the end of the decoded block."""
        self._exchange(resident.slot, self.active)
        self.active += 1

    def retire(self, resident: Resident) -> None:
        """Move it out of the decoded block, if it is there, and let it idle."""
        if resident.slot < self.active:
            self.active -= 1
            self._exchange(resident.slot, self.active)
        self._idle[resident] = None

    def _exchange(self, a: int, b: int) -> None:
        if a == b:
            return
        first, second = self._owners[a], self._owners[b]
        if first is not None and second is not None:
            self.cache.swap(a, b, max(first.cached, second.cached))
        elif first is not None:
            self.cache.copy(a, b, first.cached)
        elif second is not None:
            self.cache.copy(b, a, second.cached)
        self._owners[a], self._owners[b] = second, first
        for owner, slot in ((first, b), (second, a)):
            if owner is not None:
                owner.slot = slot
