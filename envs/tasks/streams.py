"""Conversations of facts that change, about people whom nobody knows, and questions about what is so at last."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from agentgym.env import Split
from agentgym.envs.tasks.splits import make_tasks
from agentgym.envs.worlds.names import SHORT_NAMES
from agentgym.ranges import at_least, within
from agentgym.types import Task

UNKNOWN = "unknown"
CHATTER = ("Good morning.", "Thank you.", "It is late.", "What a day.", "See you soon.", "All is well.")


class Relation(NamedTuple):
    """How a fact is spoken of. stem: what a memory of it begins with; the value follows. told, changed, corrected,
    again, ended: what is said when it is new, has changed, was wrong, is said once more, is no longer so.
    now, before: questions."""

    stem: str
    told: str
    changed: str
    corrected: str
    again: str
    ended: str
    now: str
    before: str


RELATIONS = (
    Relation(
        "{} lives in", "{} lives in {}.", "{} moved to {}.", "No, {} lives in {}.", "{} still lives in {}.",
        "{} left {}.", "Where does {} live?", "Where did {} live before?",
    ),
    Relation(
        "{} works for", "{} works for {}.", "{} went over to {}.", "No, {} works for {}.",
        "{} still works for {}.", "{} was fired by {}.", "Who does {} work for?", "Who did {} work for before?",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Streams:
    """Invented conversations in which facts are told, change and end.

    facts: how many are told, which is also what the memory can hold. people: whom they are about; None: each is
    about somebody else. changes: how often one of them changes, was wrong, or ends. chatter: parts that say
    nothing new. questions: asked at the end, each about another fact. temporal: share of the streams in which half
    of the questions ask what was so before, where something was; there the memory keeps history.

    info.parts[i].says, of what a part says of a fact, and info.questions[i].stem and before are for scripts.
    """

    facts: int = 3
    people: int | None = None
    changes: int = 3
    chatter: int = 1
    questions: int = 3
    temporal: float = 0.25

    def __post_init__(self) -> None:
        at_least(self, 1, "facts", "questions")
        at_least(self, 0, "changes", "chatter")
        if self.questions > self.facts:
            raise ValueError(f"{self.questions} questions about {self.facts} facts: there must be one for each")
        if self.facts > len(RELATIONS) * self.crowd:
            raise ValueError(f"{self.facts} facts about {self.crowd} people: there are {len(RELATIONS)} of each")
        names = self.crowd + self.facts + self.changes
        if names > len(SHORT_NAMES):
            raise ValueError(f"so many facts and changes take {names} names, and there are {len(SHORT_NAMES)}")
        within(self, 0, 1, "temporal")

    @property
    def crowd(self) -> int:
        """How many people there are."""
        return self.facts if self.people is None else self.people

    def draw(self, n: int | None, rng: random.Random, split: Split = "train") -> list[Task]:
        return make_tasks(lambda: self._task(rng.randrange(2**31)), n, split, "streams")

    def _task(self, seed: int) -> Task:
        stream = _Stream(random.Random(f"stream {seed}"), self)
        parts, questions = stream.parts, stream.questions
        info: dict[str, Any] = {"parts": parts, "questions": questions, "capacity": self.facts}
        info["history"] = stream.temporal
        asked, answers = ("\n".join(question[key] for question in questions) for key in ("question", "answer"))
        return Task(f"stream {seed}", asked, answers, info)


@dataclass(slots=True)
class _Fact:
    """values: those that were so, in order; the last one is so now, unless the fact has ended."""

    person: str
    relation: Relation
    values: list[str]
    ended: bool = False
    changed: bool = False
    has_before: bool = False

    @property
    def stem(self) -> str:
        return self.relation.stem.format(self.person)


class _Stream:
    """One stream: its parts in order, and its questions."""

    def __init__(self, rng: random.Random, config: Streams) -> None:
        self._rng, self._names = rng, iter(rng.sample(SHORT_NAMES, len(SHORT_NAMES)))
        people = [next(self._names) for _ in range(config.crowd)]
        firsts = [(person, rng.choice(RELATIONS)) for person in people]
        pairs = [(person, relation) for person in people for relation in RELATIONS]
        chosen = list(dict.fromkeys([*firsts, *rng.sample(pairs, len(pairs))]))[: config.facts]
        self._new = [_Fact(person, relation, []) for person, relation in chosen]
        self._facts: list[_Fact] = []
        kinds = [self._tell] * config.facts + [self._change] * config.changes + [self._chat] * config.chatter
        rng.shuffle(kinds)
        kinds.remove(self._tell)
        kinds.insert(0, self._tell)  # nothing changes before something was told
        self.parts = [{"id": str(number), **kind()} for number, kind in enumerate(kinds)]
        self.temporal = rng.random() < config.temporal
        self.questions = self._ask(config)

    def _tell(self) -> dict[str, Any]:
        fact = self._new.pop()
        fact.values.append(next(self._names))
        self._facts.append(fact)
        return _part(fact.relation.told, fact)

    def _change(self) -> dict[str, Any]:
        live = [fact for fact in self._facts if not fact.ended]
        if not live:
            return self._chat()
        fact, kind = self._rng.choice(live), self._rng.choices(("changed", "corrected", "ended"), (2, 2, 1))[0]
        fact.changed = True
        if kind == "ended":
            fact.ended, fact.has_before = True, True
            return _part(fact.relation.ended, fact)
        if kind == "corrected":
            fact.values[-1:], fact.has_before = [next(self._names)], False
        else:
            fact.values.append(next(self._names))
            fact.has_before = True
        return _part(getattr(fact.relation, kind), fact)

    def _chat(self) -> dict[str, Any]:
        """Small talk, or what is known already."""
        live = [fact for fact in self._facts if not fact.ended]
        if live and self._rng.random() < 0.5:
            fact = self._rng.choice(live)
            return _part(fact.relation.again, fact)
        return {"text": self._rng.choice(CHATTER)}

    def _ask(self, config: Streams) -> list[dict[str, Any]]:
        """About facts that changed, three times out of four where there are some."""
        left, asked = list(self._facts), list[dict[str, Any]]()
        for _ in range(config.questions):
            changed = [fact for fact in left if fact.changed]
            fact = self._rng.choice(changed if changed and self._rng.random() < 0.75 else left)
            left.remove(fact)
            before = self.temporal and fact.has_before and self._rng.random() < 0.5
            asked.append(_question(fact, before))
        return asked


def _part(form: str, fact: _Fact) -> dict[str, Any]:
    value = fact.values[-1]
    says = {"stem": fact.stem, "value": None if fact.ended else value}
    return {"text": form.format(fact.person, value), "says": says}


def _question(fact: _Fact, before: bool) -> dict[str, Any]:
    now = UNKNOWN if fact.ended else fact.values[-1]
    answer = fact.values[-1 if fact.ended else -2] if before else now
    form = fact.relation.before if before else fact.relation.now
    return {"question": form.format(fact.person), "answer": answer, "stem": fact.stem, "before": before}
