"""What is written about a world: its facts, and what leads astray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from agentgym.envs.worlds.world import ENDS, NOW, Fact, Relation, World
from agentgym.retriever import Passage

Reading = Literal["fact", "hearsay", "former", "namesake", "aside"]
MISLEADING = ("hearsay", "former", "namesake")
"""Kinds of passages that lead astray; `aside` is about nothing that is asked for."""

SAYING: dict[Relation, str] = {
    "born": "{subject} was born in {value}.",
    "author": "{subject} was written by {value}.",
    "country": "{subject} lies in {value}.",
    "mayor": "Since {year} the mayor of {subject} is {value}.",
    "winner": "{subject} was won by {value}.",
}
FORMER = "Until {year} the mayor of {subject} was {value}."
HEARSAY = "It is rumoured: {saying}"
TRADES = ("weaver", "baker", "smith", "sailor", "miller", "mason", "scribe", "tanner")
FILLER = (
    "Little else is certain.",
    "The records of that time are kept in a tower by the river.",
    "Travellers ask about it in summer, when the roads are dry.",
    "Older people tell it in another order.",
    "A copy of this page was found among letters.",
    "The rest of the page is about the price of wool.",
    "Nobody has drawn a map of it yet.",
    "There was a market on every third day.",
)


def passages(world: World) -> Iterator[Passage]:
    """All of them, `world.passages` in number; without titles, which would say again whom they are about.

    more: `kind`; `fact`: the id of the passage that has it right; `value`: what it says.
    """
    written = 0
    for relation, (kind, _) in ENDS.items():
        for subject in range(world.count(kind)):
            yield write_fact(world, world.fact(relation, subject))
            written += 1
            if world.rng(relation, subject, "misleading").random() < world.misleading:
                yield write_misleading(world, relation, subject)
                written += 1
    for number in range(world.passages - written):
        yield _aside(world, number)


def fact_id(relation: Relation, subject: int) -> str:
    """The id of the passage that states a fact."""
    return f"{relation}-{subject}"


def write_fact(world: World, fact: Fact) -> Passage:
    """The passage that states it."""
    return _passage(world, fact, "fact", _saying(world, fact))


def write_misleading(world: World, relation: Relation, subject: int) -> Passage:
    """A passage that could be taken for the fact's own, and says something else."""
    rng = world.rng(relation, subject, "misreading")
    truth = world.fact(relation, subject)
    ends = world.count(ENDS[relation][1])
    wrong = Fact(relation, subject, (truth.value + rng.randrange(1, ends)) % ends)
    if relation == "mayor" and "former" in world.astray:
        text = FORMER.format(year=_year(world, truth), subject=world.subject(truth), value=world.value(wrong))
        return _passage(world, wrong, "former", text)
    if rng.choice([kind for kind in world.astray if kind != "former"]) == "hearsay":
        return _passage(world, wrong, "hearsay", HEARSAY.format(saying=_saying(world, wrong)))
    name = world.names(ENDS[relation][0]).namesake(subject, rng)
    text = SAYING[relation].format(subject=name, value=world.value(wrong))
    return _passage(world, wrong, "namesake", text)


def _passage(world: World, fact: Fact, kind: Reading, text: str) -> Passage:
    own = fact_id(fact.relation, fact.subject)
    name = own if kind == "fact" else f"{own}-{kind}"
    filler = world.rng(name, "filler").choices(FILLER, k=world.filler)
    return Passage(name, "", " ".join([text, *filler]), {"kind": kind, "fact": own, "value": world.value(fact)})


def _saying(world: World, fact: Fact) -> str:
    return SAYING[fact.relation].format(
        subject=world.subject(fact), value=world.value(fact), year=_year(world, fact)
    )


def _year(world: World, fact: Fact) -> int:
    """When the mayor of today took office."""
    return world.rng(fact.relation, fact.subject, "year").randrange(NOW - 50, NOW)


def _aside(world: World, number: int) -> Passage:
    """Of somebody's trade, which nobody asks for."""
    person = number % world.count("person")
    trade = world.rng("trade", number).choice(TRADES)
    text = f"{world.names('person')[person]} is a {trade}."
    filler = world.rng("aside", number, "filler").choices(FILLER, k=world.filler)
    return Passage(f"aside-{number}", "", " ".join([text, *filler]), {"kind": "aside"})
