"""Questions about a world, of one to three hops."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentgym.envs.worlds.passages import fact_id, write_fact
from agentgym.envs.worlds.world import ENDS, Fact, Relation, World

FORMS: dict[tuple[Relation, ...], str] = {
    ("born",): "Where was {} born?",
    ("author",): "Who wrote {}?",
    ("country",): "In which country is {}?",
    ("mayor",): "Who is the mayor of {} now?",
    ("winner",): "Who won {}?",
    ("author", "born"): "Where was the author of {} born?",
    ("winner", "born"): "Where was the winner of {} born?",
    ("mayor", "born"): "Where was the mayor of {} now born?",
    ("born", "country"): "In which country was {} born?",
    ("author", "born", "country"): "In which country was the author of {} born?",
    ("winner", "born", "country"): "In which country was the winner of {} born?",
}
WORDS: dict[Relation, str] = {
    "born": "born",
    "author": "written",
    "country": "lies",
    "mayor": "mayor",
    "winner": "won",
}
"""What to search for, beside the name."""


@dataclass(frozen=True)
class Question:
    """facts: what must be found out, in order; each begins where the last one ended."""

    world: World
    facts: tuple[Fact, ...]

    @property
    def text(self) -> str:
        return FORMS[tuple(fact.relation for fact in self.facts)].format(self.subject)

    @property
    def answer(self) -> str:
        return self.world.value(self.facts[-1])

    @property
    def subject(self) -> str:
        """Where the first fact begins."""
        return self.world.subject(self.facts[0])

    @property
    def words(self) -> list[str]:
        """What to search for beside a name, for each fact."""
        return [WORDS[fact.relation] for fact in self.facts]

    @property
    def gold_doc_ids(self) -> list[str]:
        return [fact_id(fact.relation, fact.subject) for fact in self.facts]

    def given(self) -> str:
        """The question after the passages that answer it, so that nothing has to be searched for."""
        return " ".join([*(write_fact(self.world, fact).text for fact in self.facts), self.text])


def ask(world: World, rng: random.Random, hops: int) -> Question:
    """A question of so many hops, which does not hold its answer."""
    chain = rng.choice([relations for relations in FORMS if len(relations) == hops])
    while True:
        question = _follow(world, chain, rng.randrange(world.count(ENDS[chain[0]][0])))
        if question.answer not in question.text:
            return question


def _follow(world: World, chain: tuple[Relation, ...], subject: int) -> Question:
    facts = []
    for relation in chain:
        fact = world.fact(relation, subject)
        facts.append(fact)
        subject = fact.value
    return Question(world, tuple(facts))
