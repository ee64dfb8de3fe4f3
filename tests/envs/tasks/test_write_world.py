"""An invented world as files, for any retriever and any trainer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from agentgym.config import build
from agentgym.envs.search import Search, SearchEnv
from agentgym.envs.tasks.write_world import WorldFiles
from agentgym.errors import ConfigError
from agentgym.services import Services


async def test_its_questions_can_be_played_and_solved_in_its_corpus(tmp_path: Path) -> None:
    corpus, questions = WorldFiles(seed=3, questions=20, passages=300, misleading=0.5).write(tmp_path / "world")
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == 300
    retriever = {"corpus": str(corpus), "index": str(tmp_path / "index")}
    config: Search = build("env", {"name": "search", "tasks": str(questions), "retriever": retriever})
    tasks = config.source().draw(None, random.Random(0), "all")
    assert len(tasks) == 20
    async with Services() as services:
        env: SearchEnv = config.make(services)
        for task in tasks:
            await env.reset(seed=0, options={"task": task})
            script = env.demonstrate(random.Random(0))
            result = await env.step(next(script))
            while not result.terminated:
                result = await env.step(script.send(result.observation))
            assert (result.reward, result.info["recall"]) == (1.0, 1.0), task
        await env.close()


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    WorldFiles(questions=1).write(tmp_path)
    before = (tmp_path / "corpus.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"corpus\.jsonl: File exists"):
        WorldFiles(seed=1, questions=1).write(tmp_path)
    assert (tmp_path / "corpus.jsonl").read_bytes() == before
