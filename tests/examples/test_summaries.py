"""The example that has a model summarise a corpus, against a server of chat completions."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from agentgym.config import build
from agentgym.errors import LlmError
from agentgym.services import Services
from tests.llms.server import Server, error, running

SCRIPT = Path(__file__).parents[2] / "examples" / "summaries.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("summaries", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(body: dict[str, Any]) -> str:
    """A summary that keeps every name it was shown."""
    text = body["messages"][-1]["content"]
    return "About " + " and ".join(word for word in text.split() if word.startswith("Name"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.jsonl"
    rows = ({"id": f"p{n}", "title": f"Title {n}", "text": f"Name{n:02d} lives here."} for n in range(25))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


async def test_every_passage_is_covered_once_and_summaries_can_be_searched(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "summaries.jsonl"
    async with running(Server(script=names)) as server:
        await load().main(corpus, out, ["name=openai", f"base_url={server.url}", "model=m"])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["summary-p0", "summary-p10", "summary-p20"]
    assert sorted(word for row in rows for word in row["text"].split() if word.startswith("Name")) == [
        f"Name{n:02d}" for n in range(25)
    ]
    both = {"name": "bm25s", "corpus": [str(corpus), str(out)], "index": str(tmp_path / "index")}
    async with Services() as services:
        retriever = await services.get(build("retriever", both))
        [hits] = await retriever.search(["Name13"], 5)
    assert {hit.passage.id for hit in hits} == {"p13", "summary-p10"}


async def test_a_run_that_was_stopped_goes_on_where_it_was(corpus: Path, tmp_path: Path) -> None:
    out, module = tmp_path / "summaries.jsonl", load()
    module.AT_ONCE = 1
    answers = iter([names, lambda body: error(400)])
    async with running(Server(script=lambda body: next(answers)(body))) as server:
        with pytest.raises(BaseExceptionGroup) as failed:
            await module.main(corpus, out, ["name=openai", f"base_url={server.url}", "model=m"])
    assert failed.group_contains(LlmError)
    with out.open("a") as file:
        file.write('{"id": "summary-p10", "ti')  # as if it had been killed in the middle
    async with running(Server(script=names)) as server:
        await module.main(corpus, out, ["name=openai", f"base_url={server.url}", "model=m"])
        assert len(server.requests) == 2
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [
        "summary-p0", "summary-p10", "summary-p20"
    ]  # fmt: skip
