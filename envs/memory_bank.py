"""What is remembered: a value that never changes, so that whoever forks shares it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agentgym.protocols.memory_r1 import Operation


class Refused(Exception):
    """An operation that cannot be. The text tells the policy why."""


@dataclass(frozen=True, slots=True)
class Memory:
    """sources: ids of the parts of the conversation that it comes from. former: what it said before, latest first.
    deleted: it is kept for what it said."""

    id: int
    text: str
    sources: frozenset[str] = frozenset()
    former: tuple[str, ...] = ()
    deleted: bool = False

    @property
    def now(self) -> str:
        """As a manager is shown it."""
        return f"{self.text} [{self.id}]"

    def line(self) -> str:
        """As an answerer is shown it, with what it said before."""
        before = f" (before: {' '.join(self.former)})" if self.former else ""
        return f"{'deleted' if self.deleted else self.text}{before} [{self.id}]"


@dataclass(frozen=True, slots=True)
class Bank:
    """memories: in the order of their ids, deleted ones among them where it keeps history. capacity: how many may
    be remembered at a time, not counting deleted ones; None: any number."""

    capacity: int | None = None
    keeps_history: bool = False
    memories: tuple[Memory, ...] = ()
    next_id: int = 1

    @property
    def live(self) -> tuple[Memory, ...]:
        """What was not deleted."""
        return tuple(memory for memory in self.memories if not memory.deleted)

    def apply(self, operations: Iterable[Operation], source: str) -> Bank:
        """The bank after all of the operations, which `source` gave rise to. Raises Refused; then none is done."""
        bank = self
        for operation in operations:
            bank = bank._apply(operation, source)
        return bank

    def _apply(self, operation: Operation, source: str) -> Bank:
        match operation.event:
            case "ADD":
                if self.capacity is not None and len(self.live) >= self.capacity:
                    raise Refused(f"the memory is full, it holds {self.capacity}: update or delete one instead")
                new = Memory(self.next_id, operation.text, frozenset([source]))
                return replace(self, memories=(*self.memories, new), next_id=self.next_id + 1)
            case "UPDATE":
                old = self._find(operation.id)
                former = (old.text, *old.former) if self.keeps_history else ()
                return self._with(Memory(old.id, operation.text, old.sources | {source}, former))
            case "DELETE":
                old = self._find(operation.id)
                if self.keeps_history:
                    return self._with(replace(old, text="", former=(old.text, *old.former), deleted=True))
                return replace(self, memories=tuple(m for m in self.memories if m.id != old.id))
        return self

    def _find(self, number: int | None) -> Memory:
        for memory in self.live:
            if memory.id == number:
                return memory
        known = ", ".join(str(memory.id) for memory in self.live[-20:])
        raise Refused(f"there is no memory with the id {number}. There are: {known or 'none'}")

    def _with(self, memory: Memory) -> Bank:
        return replace(self, memories=tuple(memory if m.id == memory.id else m for m in self.memories))
