"""What is needed is found: recall of gold passages on real questions, over real corpora."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from agentgym.retriever import Hit, Passage, Retriever
from agentgym.retrievers.bm25s import Bm25s
from agentgym.retrievers.memory import index_passages

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "retrieval.py"


@pytest.fixture(scope="module")
def retrieval() -> ModuleType:
    spec = importlib.util.spec_from_file_location("retrieval", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Fixed:
    """Finds the same for every query."""

    description = "fixed"

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    async def search(self, queries: list[str], k: int) -> list[list[Hit]]:
        return [[Hit(Passage(name, "", ""), 1.0) for name in self.ids[:k]] for _ in queries]

    async def close(self) -> None: ...


async def test_recall_is_the_share_of_gold_among_the_best(retrieval: ModuleType) -> None:
    questions = [{"question": "?", "gold_doc_ids": ["a", "d"]}, {"question": "?", "gold_doc_ids": ["a"]}]
    retriever: Retriever = Fixed("a", "b", "c", "d")
    result = await retrieval.recall(retriever, questions)
    assert (result.questions, result.at) == (2, {1: 0.75, 3: 0.75, 5: 1.0, 10: 1.0})


FLOORS = {  # corpus -> recall at 1, 3, 5 and 10 that it must reach
    "hotpotqa": (0.36, 0.63, 0.74, 0.85),
    "2wikimultihopqa": (0.36, 0.63, 0.68, 0.74),
    "musique": (0.28, 0.42, 0.47, 0.53),
    "xquad": (0.91, 0.96, 0.97, 0.98),
}


@pytest.mark.parametrize("corpus", FLOORS)
async def test_gold_passages_are_found(data: Path, tmp_path: Path, retrieval: ModuleType, corpus: str) -> None:
    folder = data / "search_qa"
    config = Bm25s(str(folder / f"corpus_{corpus}.jsonl"), str(tmp_path / "index"), strict=True)
    retriever = await config.open()
    questions = retrieval.read_questions(folder, corpus)
    result = await retrieval.recall(retriever, questions)
    print(corpus, result)
    assert all(result.at[k] >= floor for k, floor in zip(retrieval.CUTS, FLOORS[corpus], strict=True))
    # The same passages without a disk, and so another way through, give the same hits.
    words = [row["question"] for row in questions]
    in_memory = index_passages(retriever._index.passages[:], config)  # type: ignore[attr-defined]
    assert await in_memory.search(words, 5) == await retriever.search(words, 5)
    await retriever.close()
