"""BM25's scores, against the formula written out passage by passage, and the terms that Lucene would count."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from agentgym.config import build
from agentgym.errors import ConfigError, ToolFailed
from agentgym.retriever import Passage, Retriever
from agentgym.retrievers.analyzer import analyzer
from agentgym.retrievers.bm25s import Bm25s
from agentgym.retrievers.memory import index_passages

WORDS = [f"w{i}" for i in range(60)]


def made_up(count: int, seed: int) -> list[Passage]:
    """Passages of words with very different frequencies; one is empty."""
    rng = random.Random(seed)
    texts = [
        " ".join(rng.choice(WORDS[: rng.randint(1, 60)]) for _ in range(rng.randint(1, 40))) for _ in range(count)
    ]
    return [Passage("empty", "", " . "), *(Passage(str(i), text[:6], text) for i, text in enumerate(texts))]


def reference(passages: list[Passage], query: str, k1: float, b: float) -> dict[str, float]:
    """Lucene's BM25Similarity (without its rounding of lengths) over its BooleanQuery of the query's words."""
    bags = {p.id: Counter(f"{p.title} {p.text}".replace(".", " ").split()) for p in passages}
    bags = {name: bag for name, bag in bags.items() if bag}
    mean = sum(bag.total() for bag in bags.values()) / len(bags)
    scores: dict[str, float] = {}
    for word in query.split():
        having = sum(word in bag for bag in bags.values())
        idf = math.log(1 + (len(bags) - having + 0.5) / (having + 0.5))
        for name, bag in bags.items():
            if bag[word]:
                part = bag[word] / (bag[word] + k1 * (1 - b + b * bag.total() / mean))
                scores[name] = scores.get(name, 0.0) + idf * part
    return scores


async def on_disk(passages: list[Passage], config: Bm25s, folder: Path) -> Retriever:
    file = folder / "corpus.jsonl"
    rows = [{"id": p.id, "title": p.title, "text": p.text} for p in passages]
    file.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    return await replace(config, corpus=str(file), index=str(folder / "index")).open()


@pytest.mark.parametrize("place", ["memory", "disk", "disk in small parts"])
@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (0.0, 1.0)])
async def test_scores_are_lucenes_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, k1: float, b: float
) -> None:
    config = Bm25s(k1=k1, b=b, stemmer="none", stopwords="none")
    passages = made_up(300, seed=1)
    if place == "memory":
        retriever = index_passages(passages, config)
    else:
        monkeypatch.setattr("agentgym.retrievers.bm25_build.PART", 500 if "small" in place else 10**6)
        passages[0] = replace(passages[0], text="...")
        retriever = await on_disk(passages, config, tmp_path)
    rng = random.Random(2)
    queries = [" ".join(rng.choices(WORDS, k=rng.randint(1, 8))) for _ in range(40)] + [
        "w3 w3 w3 w40",
        "w1 absent",
    ]
    for query, hits in zip(queries, await retriever.search(queries, 1000), strict=True):
        wanted = reference(passages, query, k1, b)
        assert {hit.passage.id: hit.score for hit in hits} == pytest.approx(wanted, rel=1e-4)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        [few] = await retriever.search([query], 5)
        assert few == hits[:5]
    await retriever.close()


async def test_of_equal_passages_the_earlier_comes_first(tmp_path: Path) -> None:
    passages = [Passage(str(i), "", "the same words" if i % 3 else "other words here") for i in range(50)]
    retriever = index_passages(passages, Bm25s())
    [hits] = await retriever.search(["same"], 4)
    assert [hit.passage.id for hit in hits] == ["1", "2", "4", "5"]


async def test_title_and_text_are_searched_and_passages_come_back_whole(tmp_path: Path) -> None:
    passages = [Passage("a", "Ogród Saski", "A park.\nIn Warsaw."), Passage("b", "Tea", "Leaves.")]
    for retriever in (index_passages(passages, Bm25s()), await on_disk(passages, Bm25s(), tmp_path)):
        assert [
            [hit.passage for hit in hits] for hits in await retriever.search(["ogród", "leaf", "WARSAW"], 3)
        ] == [
            [passages[0]],
            [],
            [passages[0]],
        ]
        assert await retriever.search([], 3) == []
        assert await retriever.search(["", "the of", "zzz"], 3) == [[], [], []]
        assert "2 passages" in retriever.description
        with pytest.raises(ValueError, match="k must be at least 1, not 0"):
            await retriever.search(["tea"], 0)
        await retriever.close()
        await retriever.close()
        with pytest.raises(ToolFailed, match="closed"):
            await retriever.search(["tea"], 1)


@pytest.mark.parametrize(
    ("text", "terms"),
    [  # by the rules of Lucene's EnglishAnalyzer
        ("The owner's dogs' running", "owner dog run"),
        ("U.S. GDP of 1,000.50 at 3:30 a.m.", "u. gdp 1,000.50 3 30 a.m"),
        ("Wi-Fi, foo_bar ___ don't", "wi fi foo_bar don't"),
        ("caresses ponies relational conditional", "caress poni relat condit"),
        ("Zażółć café’s re\u0301sume\u0301s", "zażółć café re\u0301sume\u0301"),
        ("東京タワー हिन्दी", "東 京 タワー हिन्दी"),
        ("z" * 300, "z" * 255 + " " + "z" * 45),
    ],
)
def test_the_terms_of_a_text(text: str, terms: str) -> None:
    assert analyzer("porter", "lucene").terms(text) == terms.split()


def test_stems_and_stopwords_are_a_choice() -> None:
    assert analyzer("none", "none").terms("The dogs") == ["the", "dogs"]
    assert analyzer("none", "lucene").terms("The dogs") == ["dogs"]
    assert analyzer("english", "none").terms("generously") == ["generous"]
    assert analyzer("porter", "none").terms("generously") == ["gener"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"k1": -1}, "k1 must be at least 0, not -1"),
        ({"b": 1.5}, "b must be from 0 to 1, not 1.5"),
        ({"k1": "nan"}, "k1 must be at least 0, not nan"),
        ({"stemmer": "portre"}, "stemmer: unknown 'portre': did you mean 'porter'?"),
        ({"corpse": "x"}, "unknown key 'corpse': did you mean 'corpus'?"),
    ],
)
def test_wrong_settings_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build("retriever", {"name": "bm25s", **fields})
    assert said in str(refused.value)


def test_a_config_loads_nothing_heavy() -> None:
    code = (
        "import sys; from agentgym.config import build; "
        "hash(build('retriever', {'name': 'bm25s', 'corpus': ['a.jsonl', 'b.jsonl']})); "
        "sys.exit(', '.join({'numpy', 'bm25s', 'Stemmer', 'pyarrow', 'regex'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
