"""Tool `search` over a corpus of one's own."""

from __future__ import annotations

import json
from pathlib import Path

from agentgym.check import check_tool
from agentgym.tooling.load import toolset


async def test_it_keeps_what_every_tool_promises(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"id": "1", "title": "River", "text": "It won the war."}, {"id": "2", "text": "Nothing about it."}]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    retriever = {"corpus": str(corpus), "index": str(tmp_path / "index")}
    results = await check_tool(toolset({"name": "search", "retriever": retriever}))
    assert [result.name for result in results if not result.ok] == [], results
    assert "River" in str(results)


async def test_without_a_corpus_it_says_what_to_give() -> None:
    *_, result = await check_tool(toolset("search"))
    assert not result.ok
    assert "tool.retriever.corpus=" in result.detail
