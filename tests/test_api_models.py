"""`agentgym eval` and `rollout` of a model behind an API, as typed."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from agentgym import run
from agentgym.errors import ConfigError
from agentgym.runlog import read_forests

from .engines.api_server import ApiServer, Says, running

WATCHED = "import sys; from agentgym.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"


def solver(body: dict[str, Any]) -> Says:
    """Writes a program for each sum that it is asked for, and answers with what it prints."""
    last = body["messages"][-1]["content"]
    if "<interpreter>" in last:
        [output] = re.findall(r"<interpreter>\s*(.*?)\s*</interpreter>", last, re.DOTALL)
        return Says(f"So it is \\boxed{{{output}}}.")
    [sum_] = re.findall(r"[\d(][\d\s+*()-]*\d\)?", last)[-1:]
    return Says(f"<code>\nprint({sum_})\n</code>\n<interpreter>\n0\n</interpreter>")


async def agentgym(server: ApiServer, command: str, *words: str) -> tuple[str, str]:
    """What it prints, on both streams, once it has succeeded."""
    told = ["model=m", "engine.name=openai", f"engine.base_url={server.url}", "engine.api_key_env=", "seed=3"]
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WATCHED, command, *told, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await program.communicate()
    assert program.returncode == 0, err.decode()[-2000:]
    return out.decode(), err.decode()


async def test_an_evaluation_needs_no_model_here_and_says_what_it_cost(tmp_path: Path) -> None:
    file = tmp_path / "played.jsonl"
    async with running(ApiServer(solver)) as server:
        words = (
            "env=retool",
            "env.tasks=arith",
            "env.sandbox.name=local",
            "env.sandbox.allow_weak=true",
            "-n",
            "4",
            "--json",
            "--save",
            str(file),
            "engine.completion_price=1000",
        )
        out, err = await agentgym(server, "eval", *words)
    result, torch_was_loaded = out.splitlines()
    assert torch_was_loaded == "False"
    assert (json.loads(result)["success"], json.loads(result)["tool_calls"]) == (1.0, 1.0)
    cost = server.completion_tokens * 1000 / 1e6
    told = f"{server.requests} requests, {server.prompt_tokens:,} prompt tokens, {server.completion_tokens} "
    assert f"m: {told}completion tokens, cost {cost:.4g}" in err
    groups = read_forests(file)
    assert [len(group.turns) for group in groups] == [2] * 4
    assert groups[0].turns[0].text.endswith("</code>")  # what it made up after that is not part of the episode


async def test_a_rollout_is_printed() -> None:
    async with running(ApiServer(lambda body: Says("I see. <go>north</go>", told=True))) as server:
        out, err = await agentgym(server, "rollout", "env=maze", "env.max_turns=2")
    assert out.count("<go>north</go>") == 2
    assert "2 requests" in err


@pytest.mark.parametrize(
    ("form", "reason"), [("chat", "returns no token ids"), ("tokens", "weights cannot be set")]
)
def test_training_is_refused_before_anything_starts(form: str, reason: str, tmp_path: Path) -> None:
    engine = {"name": "openai", "form": form, "base_url": "http://127.0.0.1:9", "api_key_env": ""}
    output = tmp_path / "runs"
    settings = run.resolve_settings({"env": "maze", "engine": engine, "output_dir": str(output)}, [])
    with pytest.raises(ConfigError, match=reason):
        asyncio.run(run.train(settings, None))  # type: ignore[arg-type]
    assert not output.exists()
