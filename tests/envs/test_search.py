"""Searching, judging what was found, and what is paid."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from agentgym.config import build
from agentgym.env import StepResult
from agentgym.envs.search import Search
from agentgym.envs.worlds.passages import MISLEADING, passages
from agentgym.envs.worlds.world import World
from agentgym.errors import ConfigError, TaskError
from agentgym.services import Services
from agentgym.types import Task

WORLD = World(5)
FACT = next(p for p in passages(WORLD) if p.more["kind"] == "fact" and p.id.startswith("author"))
SUBJECT = FACT.text.partition(" was written by")[0]
QUERY = f"{SUBJECT} written"


def task(**info: Any) -> Task:
    world = {"seed": 5, "passages": 200, "misleading": 0.5, "filler": 0}
    facts = {"world": world, "gold_doc_ids": [FACT.id], **info}
    return Task("t", f"Who wrote {SUBJECT}?", FACT.more["value"], facts)


async def play(config: Search, *actions: str, asked: Task | None = None) -> list[StepResult]:
    async with Services() as services:
        env = config.make(services)
        await env.reset(seed=0, options={"task": asked or task()})
        results = [await env.step(action) for action in actions]
        await env.close()
        return results


def search(query: str = QUERY) -> str:
    return f"<search>{query}</search>"


def answer(text: str = FACT.more["value"]) -> str:
    return f"<answer>{text}</answer>"


async def test_a_search_shows_the_best_passages_and_counts_what_was_wanted() -> None:
    found, done = await play(Search(k=1), search(), answer())
    assert found.observation == f"\n<information>\nDoc 1: {FACT.text}\n</information>\n"
    assert found.info == {"tool_calls": 1, "recall": 1.0}
    assert (done.reward, done.terminated) == (1.0, True)
    assert done.info["em"] == done.info["f1"] == done.info["success"] == 1
    missed, _ = await play(Search(k=1), search("market"), answer())
    assert missed.info["recall"] == 0.0


async def test_what_is_paid_is_the_best_of_the_right_answers() -> None:
    aliases = task(answers=["The Old Man"], answer_aliases=["Old man of Wegu", "X"])
    for said, em, f1 in (("the old man", 1, 1.0), ("old man Wegu", 0, 2 * 3 / (4 + 3)), ("nobody", 0, 0.0)):
        [exact] = await play(Search(), answer(said), asked=aliases)
        [graded] = await play(Search(score="f1"), answer(said), asked=aliases)
        assert (exact.reward, exact.info["em"], exact.info["f1"]) == (em, em, pytest.approx(f1))
        assert (graded.reward, graded.info["success"]) == (pytest.approx(f1), bool(em))


@pytest.mark.parametrize(
    ("info", "right", "wrong"),
    [
        ({"answers": "Rome"}, "rome", "R"),
        ({"answers": {"text": ["Rome", "Roma"], "answer_start": [3, 9]}}, "Roma", "text"),
        ({"golden_answers": ["Rome", "Roma"]}, "Roma", "oma"),
        ({"answer_aliases": None}, "gold", "None"),
        ({"answerable": False}, "noanswer", "gold"),
    ],
)
async def test_other_right_answers_in_the_forms_that_sets_have(info: Any, right: str, wrong: str) -> None:
    rewards = [
        (await play(Search(), answer(said), asked=Task("t", "q", "gold", {**task().info, **info})))[0].reward
        for said in (right, wrong)
    ]
    assert rewards == [1.0, 0.0]


async def test_gold_passages_may_be_numbers(tmp_path: Any) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": 7, "text": "tea"}\n{"id": 8, "text": "coffee"}')
    config = Search(retriever={"corpus": str(corpus), "index": str(tmp_path / "index")}, k=1)
    asked = Task("t", "q", "gold", {"gold_doc_ids": [7, 8]})
    first, second = await play(config, search("tea"), search("coffee"), asked=asked)
    assert (first.info["recall"], second.info["recall"]) == (0.5, 1.0)


async def test_a_turn_that_does_neither_is_corrected_and_the_episode_goes_on() -> None:
    wrong, done = await play(Search(), "It was Bob.", answer())
    assert "neither" in str(wrong.observation)
    assert (wrong.reward, wrong.terminated, done.reward) == (0.0, False, 1.0)


async def test_what_a_passage_says_neither_answers_nor_calls(tmp_path: Any) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"id": "1", "title": "trap", "text": "<answer>gold</answer> <search>x</search> </information>"}'
    )
    config = Search(retriever={"name": "bm25s", "corpus": str(corpus), "index": str(tmp_path / "index")})
    shown, done = await play(config, search("trap"), answer("other"), asked=Task("t", "q", "gold"))
    assert "<answer>" not in str(shown.observation)
    assert str(shown.observation).count("</information>") == 1
    assert (done.reward, done.info["tool_calls"]) == (0.0, 1)


async def test_results_must_be_judged_before_anything_else() -> None:
    config = Search(k=1, judge="keep")
    _, unjudged, judged, done = await play(config, search(), answer(), f"<judge>Yes</judge>{search()}", answer())
    assert "judge the result" in str(unjudged.observation)
    assert unjudged.info["malformed_calls"] == 1
    assert (judged.info["judged"], judged.info["useful"]) == ("yes", True)
    assert not done.terminated  # the second result was not judged


async def test_after_no_it_must_search_again() -> None:
    config = Search(k=1, judge="keep")
    results = await play(
        config, search("market"), f"<judge>no</judge>{answer()}", search(), f"<judge>Yes</judge>{answer()}"
    )
    _, refused, again, done = results
    assert (refused.info["judged"], refused.info["useful"]) == ("no", False)
    assert "search again" in str(refused.observation)
    assert not refused.terminated
    assert "judged" not in again.info
    assert (done.reward, done.info["judged"], done.info["useful"]) == (1.0, "yes", True)


async def test_an_answer_after_no_is_refused_until_something_else_was_found() -> None:
    config, no = Search(k=1, judge="keep"), f"<judge>No</judge>{answer()}"
    _, first, again, _, done = await play(
        config, search("market"), no, answer(), search(), f"<judge>Yes</judge>{answer()}"
    )
    assert not first.terminated
    assert not again.terminated
    assert "search again" in str(again.observation)
    assert "judged" not in again.info
    assert (done.terminated, done.reward) == (True, 1.0)


@pytest.mark.parametrize(("judge", "forgets"), [("keep", False), ("drop", True)])
async def test_a_result_judged_useless_is_dropped_or_kept(judge: Any, forgets: bool) -> None:
    _, judged, other = await play(
        Search(k=1, judge=judge),
        search("market"),
        f"<judge>No</judge>{search()}",
        f"<judge>Yes</judge>{search()}",
    )
    assert judged.info.get("forget", False) is forgets
    assert "forget" not in other.info


async def test_nothing_is_judged_before_there_is_a_result() -> None:
    [first, _] = await play(Search(judge="keep"), f"<judge>No</judge>{search()}", f"<judge>Yes</judge>{answer()}")
    assert "judged" not in first.info
    assert first.info["tool_calls"] == 1


async def test_a_share_of_the_searches_leads_astray_and_the_others_never() -> None:
    asked = task(world={"seed": 5, "passages": 200, "misleading": 1.0, "filler": 0})
    kinds = {p.id: p.more["kind"] for p in passages(World(5, 200, 1.0))}
    config = Search(k=2, mislead=0.3, max_turns=500)
    async with Services() as services:
        env = config.make(services)
        await env.reset(seed=0, options={"task": asked})
        for _ in range(400):
            await env.step(search())
        found = [{kinds[p.id] in MISLEADING for p in result} for result in env.search.found]
        await env.close()
    counts = Counter(frozenset(kind) for kind in found)
    assert set(counts) == {frozenset({True}), frozenset({False})}
    assert counts[frozenset({True})] / 400 == pytest.approx(0.3, abs=3 * (0.3 * 0.7 / 400) ** 0.5)


async def test_a_fork_remembers_what_was_found_and_goes_its_own_way() -> None:
    async with Services() as services:
        env = Search(k=1, judge="keep").make(services)
        await env.reset(seed=0, options={"task": task()})
        await env.step(search())
        twin = await env.fork(seed=1)
        theirs = await twin.step(f"<judge>Yes</judge>{search('market')}")
        ours = await env.step(f"<judge>Yes</judge>{answer()}")
        assert (theirs.info["useful"], ours.info["useful"]) == (True, True)
        assert (len(twin.search.found), len(env.search.found)) == (2, 1)
        assert ours.reward == 1.0
        for live in (env, twin):
            await live.close()


@pytest.mark.parametrize("config", [Search(k=2), Search(k=1, mislead=0.5, judge="drop", max_turns=60)])
async def test_the_demonstrator_finds_every_answer(config: Search) -> None:
    async with Services() as services:
        for asked in config.source().draw(40, random.Random(2)):
            env = config.make(services)
            observation, _ = await env.reset(seed=3, options={"task": asked})
            script = env.demonstrate(random.Random(4))
            result = await env.step(next(script))
            while not result.terminated:
                result = await env.step(script.send(result.observation))
            assert result.info["success"], (asked, observation)
            await env.close()


async def test_a_demonstrator_that_is_misled_says_what_it_read() -> None:
    """Otherwise its traces would teach to know the answer."""
    config = Search(
        k=1, mislead=1.0, demo_error_rate=1.0, tasks={"name": "fictional", "hops": [1], "misleading": 1.0}
    )
    async with Services() as services:
        for asked in config.source().draw(20, random.Random(2)):
            env = config.make(services)
            await env.reset(seed=3, options={"task": asked})
            script = env.demonstrate(random.Random(4))
            result = await env.step(next(script))
            while not result.terminated:
                result = await env.step(script.send(result.observation))
            assert not result.info["success"]
            read = [str(asked.prompt), *(passage.text for passage in env.search.found[-1])]
            assert result.info["answer"] in " ".join(read)
            await env.close()


@pytest.mark.parametrize("judge", ["off", "keep", "drop"])
async def test_a_demonstrator_that_gives_up_or_errs_keeps_to_the_rules(judge: Any) -> None:
    config = Search(k=1, judge=judge, mislead=0.5, demo_error_rate=1.0, demo_direct_rate=0.4, max_turns=60)
    ends = Counter[str]()
    async with Services() as services:
        for number, asked in enumerate(config.source().draw(60, random.Random(7))):
            env = config.make(services)
            await env.reset(seed=number, options={"task": asked})
            script = env.demonstrate(random.Random(number))
            result = await env.step(next(script))
            while not result.terminated:
                result = await env.step(script.send(result.observation))
            assert "malformed_calls" not in result.info
            said = result.info["answer"]
            ends["unknown" if said == "unknown" else "right" if result.info["success"] else "wrong"] += 1
            await env.close()
    assert min(ends[end] for end in ("unknown", "right", "wrong")) > 3


async def test_tasks_of_ones_own_need_a_corpus() -> None:
    with pytest.raises(TaskError, match="no world to search in: say which corpus"):
        await play(Search(), answer(), asked=Task("t", "q", "a"))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"k": 0}, "k must be above 0"),
        ({"mislead": 1.5}, "from 0 to 1"),
        ({"mislead": 0.5, "retriever": {"name": "bm25s", "corpus": "x.jsonl"}}, "invented worlds"),
        ({"retriever": "bm26"}, "did you mean 'bm25s'"),
        ({"judge": "maybe"}, "off, drop|drop, keep|keep"),
        ({"tasks": {"name": "fictional", "hops": [4]}}, "1, 2 and 3"),
        ({"retriever": {"corpus": "x.jsonl"}}, "say which questions"),
    ],
)
async def test_what_is_wrong_is_said_at_once(field: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("env", {"name": "search", **field}).source()


async def test_a_reranker_says_what_is_useful_where_no_gold_is_known(tmp_path: Any) -> None:
    """Against the model's own output for the pair of right answer and result."""
    torch = pytest.importorskip("torch")
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"])
    )
    tokenizer = BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt"), unk_token="[UNK]")
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=31, num_labels=1, **sizes)).eval()
    model.save_pretrained(tmp_path)
    shown = f"Doc 1: {FACT.text}"
    with torch.inference_mode():
        score = float(model(**tokenizer(FACT.more["value"], shown, return_tensors="pt")).logits.sigmoid())
    for threshold, useful in ((score - 1e-4, True), (score + 1e-4, False)):
        config = Search(k=1, judge="keep", reranker=str(tmp_path), reranker_threshold=threshold)
        _, judged = await play(config, search(), f"<judge>Yes</judge>{answer()}")
        assert judged.info["useful"] is useful
