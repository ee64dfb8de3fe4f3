"""Summaries of a corpus by a model, as passages to search beside it: UR2's two kinds of knowledge (2508.06165).

    python examples/summaries.py corpus.jsonl summaries.jsonl name=openai base_url=http://HOST:8000/v1 model=NAME
    agentgym train env=search 'env.retriever.corpus=["corpus.jsonl", "summaries.jsonl"]' env.tasks=questions.jsonl

Each covers a few neighbouring passages. Those that were written already are kept, so that a run that was stopped
goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from agentgym.config import build, parse_overrides
from agentgym.llm import Llm
from agentgym.llms.quote import RULE, quote
from agentgym.retriever import Passage
from agentgym.retrievers.corpus import read_corpus
from agentgym.types import Message

COVERED, AT_ONCE = 10, 16
ASK = "Summarise these passages in at most five sentences, keeping every name, number and date that is in them."


def parts(corpus: Path) -> Iterator[tuple[str, list[Passage]]]:
    """The id of each summary, and the passages it covers."""
    passages = read_corpus([str(corpus)])
    while part := list(islice(passages, COVERED)):
        yield f"summary-{part[0].id}", part


def written(file: Path) -> set[str]:
    """Ids of the summaries in a file; a last line that was broken off is cut away."""
    if not file.exists():
        return set()
    whole = file.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    file.write_bytes(whole)
    return {json.loads(line)["id"] for line in whole.splitlines()}


async def summarise(llm: Llm, name: str, part: list[Passage]) -> str:
    """A line of JSON."""
    text = "\n\n".join(quote(f"{passage.title}\n{passage.text}".strip()) for passage in part)
    messages: list[Message] = [{"role": "system", "content": f"{ASK} {RULE}"}, {"role": "user", "content": text}]
    [summary] = await llm.complete(messages, temperature=0.0)
    return json.dumps({"id": name, "title": part[0].title, "text": summary.strip()}) + "\n"


async def main(corpus: Path, out: Path, words: list[str]) -> None:
    """Summarise what is not summarised yet, some parts at a time."""
    llm = await build("llm", parse_overrides(words)).open()
    done = written(out)
    missing = ((name, part) for name, part in parts(corpus) if name not in done)
    try:
        with out.open("a", encoding="utf-8") as file:
            while some := list(islice(missing, AT_ONCE)):
                async with asyncio.TaskGroup() as asking:
                    lines = [asking.create_task(summarise(llm, name, part)) for name, part in some]
                file.writelines(line.result() for line in lines)
                file.flush()
        print(f"{llm.spent.requests} summaries, {llm.spent.tokens} tokens")
    finally:
        await llm.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
