"""A world of facts, made from a seed: nothing is stored, whatever its size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from agentgym.envs.worlds.names import Kind, Names
from agentgym.ranges import within

Relation = Literal["born", "author", "country", "mayor", "winner"]
Astray = Literal["hearsay", "former", "namesake"]
ENDS: dict[Relation, tuple[Kind, Kind]] = {
    "born": ("person", "town"),
    "author": ("work", "person"),
    "country": ("town", "country"),
    "mayor": ("town", "person"),
    "winner": ("event", "person"),
}
"""What each relation leads from, and where to."""
PARTS: dict[Kind, int] = {"person": 4, "work": 3, "town": 2, "event": 1}
FACTS = sum(PARTS[subject] for subject, _ in ENDS.values())
"""Facts in a world of one part."""
NOW = 1500
"""The year in which questions are asked."""


class Fact(NamedTuple):
    """subject, value: numbers of their kinds."""

    relation: Relation
    subject: int
    value: int


@dataclass(frozen=True)
class World:
    """passages: how many there are, in all. misleading: share of the facts about which there is also a passage
    that leads astray, of one of the kinds in astray: `hearsay` that contradicts it, what was so in `former` times
    (of mayors only), or a `namesake`'s fact. filler: sentences without a fact that each passage ends with.
    """

    seed: int
    passages: int = 200
    misleading: float = 0.5
    filler: int = 0
    astray: tuple[Astray, ...] = ("hearsay", "former", "namesake")

    def __post_init__(self) -> None:
        within(self, 100, 1_000_000, "passages")
        within(self, 0, 1, "misleading")
        if not {"hearsay", "namesake"} & set(self.astray):
            raise ValueError(f"astray needs hearsay or namesake, which any fact can have, not {list(self.astray)}")
        within(self, 0, 20, "filler")

    @cached_property
    def parts(self) -> int:
        """A tenth of the passages are about neither facts nor their misreadings."""
        return int(self.passages * 0.9 / (FACTS * (1 + self.misleading)))

    def count(self, kind: Kind) -> int:
        """How many of a kind there are."""
        return max(2, self.parts // 2) if kind == "country" else PARTS[kind] * self.parts

    def names(self, kind: Kind) -> Names:
        """The names of a kind, by number."""
        return Names(self.seed, kind, self.count(kind))

    def fact(self, relation: Relation, subject: int) -> Fact:
        """What is so of the subject."""
        return Fact(relation, subject, self.draw(relation, subject, "fact"))

    def draw(self, relation: Relation, subject: int, purpose: str) -> int:
        """A value for the relation, at random; always the same for the same purpose."""
        return self.rng(relation, subject, purpose).randrange(self.count(ENDS[relation][1]))

    def rng(self, *about: object) -> random.Random:
        """Random numbers that belong to something in this world."""
        return random.Random(f"{self.seed} {about}")

    def value(self, fact: Fact) -> str:
        """The name of what the fact says."""
        return self.names(ENDS[fact.relation][1])[fact.value]

    def subject(self, fact: Fact) -> str:
        """The name of whom the fact is about."""
        return self.names(ENDS[fact.relation][0])[fact.subject]
