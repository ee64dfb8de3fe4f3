"""A world's passages, read again from their text alone: they say what the questions need, once."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest

from agentgym.envs.tasks.fictional import Fictional
from agentgym.envs.worlds.passages import MISLEADING, passages
from agentgym.envs.worlds.world import World
from agentgym.retriever import Passage

SAYS = {
    "born": r"(.+) was born in (\w+)\.",
    "author": r"(.+) was written by (.+)\.",
    "country": r"(\w+) lies in (\w+)\.",
    "mayor": r"Since \d+ the mayor of (\w+) is (.+)\.",
    "winner": r"(.+) was won by (.+)\.",
}
QUESTIONS = {
    r"Where was the author of (.+) born\?": ("author", "born"),
    r"Where was the winner of (.+) born\?": ("winner", "born"),
    r"Where was the mayor of (.+) now born\?": ("mayor", "born"),
    r"In which country was the author of (.+) born\?": ("author", "born", "country"),
    r"In which country was the winner of (.+) born\?": ("winner", "born", "country"),
    r"In which country was (.+) born\?": ("born", "country"),
    r"Where was (.+) born\?": ("born",),
    r"Who wrote (.+)\?": ("author",),
    r"In which country is (.+)\?": ("country",),
    r"Who is the mayor of (.+) now\?": ("mayor",),
    r"Who won (.+)\?": ("winner",),
}


def about(passage: Passage) -> str:
    """Whom a passage names first, in the form of a fact."""
    found = next(filter(None, (re.match(form, passage.text) for form in SAYS.values())))
    return found[1]


def read(written: list[Passage]) -> dict[tuple[str, str], list[str]]:
    """What is said of whom, without hearsay and what was formerly so."""
    facts: dict[tuple[str, str], list[str]] = {}
    for passage in written:
        for relation, form in SAYS.items():
            if (found := re.fullmatch(form, passage.text)) and "rumoured" not in passage.text:
                facts.setdefault((relation, found[1]), []).append(found[2])
    return facts


@pytest.mark.parametrize("size", [100, 200, 1000, 5000])
def test_every_question_follows_from_the_text_and_from_one_reading_only(size: int) -> None:
    tasks = Fictional(passages=size, hops=(1, 2, 3), misleading=1.0, questions=200).draw(200, random.Random(3))
    facts = read(list(passages(World(**tasks[0].info["world"]))))
    for task in tasks:
        form, chain = next((f, c) for f, c in QUESTIONS.items() if re.fullmatch(f, str(task.prompt)))
        name = re.fullmatch(form, str(task.prompt))[1]  # type: ignore[index]
        for relation in chain:
            [name] = facts[relation, name]
        assert name == task.answer
        assert task.info["hops"] == len(chain)


def test_gold_passages_are_those_that_say_it() -> None:
    for task in Fictional(hops=(3,)).draw(50, random.Random(1)):
        by_id = {passage.id: passage for passage in passages(World(**task.info["world"]))}
        gold = [by_id[name] for name in task.info["gold_doc_ids"]]
        assert task.info["subject"] in gold[0].text
        assert gold[0].more["value"] in gold[1].text
        assert gold[1].more["value"] in gold[2].text
        assert task.answer in gold[2].text
        assert all(word in passage.text for word, passage in zip(task.info["words"], gold, strict=True))


@pytest.mark.parametrize("size", [100, 101, 777, 20_000])
@pytest.mark.parametrize("misleading", [0.0, 0.5, 1.0])
def test_there_are_as_many_passages_as_asked_for_and_none_twice(size: int, misleading: float) -> None:
    written = list(passages(World(7, size, misleading)))
    assert len(written) == len({passage.id for passage in written}) == size
    kinds = Counter(passage.more["kind"] for passage in written)
    astray = sum(kinds[kind] for kind in MISLEADING)
    assert astray == pytest.approx(misleading * kinds["fact"], abs=3 * kinds["fact"] ** 0.5)


def test_what_leads_astray_says_something_else_of_the_same_or_a_similar_name() -> None:
    written = list(passages(World(11, 5000, 1.0)))
    facts = {passage.id: passage for passage in written if passage.more["kind"] == "fact"}
    borne = {about(passage) for passage in facts.values()}
    for passage in written:
        if passage.more["kind"] not in MISLEADING:
            continue
        truth = facts[passage.more["fact"]]
        assert passage.more["value"] != truth.more["value"]
        assert passage.more["value"] in passage.text
        if passage.more["kind"] == "namesake":
            assert about(passage) not in borne
            assert about(passage)[:-2] == about(truth)[:-2]
        else:
            assert about(truth) in passage.text


def test_a_seed_is_a_world_and_another_seed_another() -> None:
    first, again, other = (list(passages(World(seed, 300, filler=2))) for seed in (1, 1, 2))
    assert first == again
    shared = {passage.text for passage in first} & {passage.text for passage in other}
    assert not shared


def test_worlds_belong_to_a_split_and_easy_tasks_bring_what_they_need() -> None:
    source = Fictional(easy_fraction=0.5, questions=4)
    train, held_out = (source.draw(400, random.Random(5), split) for split in ("train", "eval"))
    seeds = [{task.info["world"]["seed"] for task in tasks} for tasks in (train, held_out)]
    assert not seeds[0] & seeds[1]
    assert len(seeds[0]) == 100
    assert all((task.answer in str(task.prompt)) == (task.info["level"] == "easy") for task in train)
    assert 0.4 < sum(task.info["level"] == "easy" for task in train) / 400 < 0.6


@pytest.mark.parametrize("kinds", [("hearsay",), ("namesake", "former"), ("hearsay", "former", "namesake")])
def test_passages_lead_astray_in_the_ways_that_were_asked_for(kinds: tuple[Any, ...]) -> None:
    written = list(passages(World(3, 2000, 1.0, astray=kinds)))
    assert {passage.more["kind"] for passage in written} & set(MISLEADING) == set(kinds)


def test_former_times_alone_will_not_do() -> None:
    with pytest.raises(ValueError, match="needs hearsay or namesake"):
        World(3, astray=("former",))
