"""vLLM itself, on its CPU build: what every engine promises, adapters, and its death.

Each test starts vLLM, which takes a quarter of a minute.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from agentgym.check import check_engine
from agentgym.checks.leftovers import descendants
from agentgym.config import build
from agentgym.engine import Sampling
from agentgym.engines.memory_folder import SHARED
from agentgym.errors import EngineError
from agentgym.models import nano
from agentgym.models.load import Lora, load_policy
from tests.living import living

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: .ci/install_vllm FOLDER"),
]
CONFIG = {"name": "vllm", "max_len": 512, "max_sequences": 64}


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "ERROR")


@asynccontextmanager
async def started(model: Any, tokenizer: Any) -> AsyncIterator[Any]:
    engine = build("engine", CONFIG).start(model, tokenizer)
    try:
        yield engine
    finally:
        await engine.close()


KILLED = """
import asyncio, os, signal, sys
from agentgym.checks.leftovers import descendants
from agentgym.config import build
from agentgym.models import nano

async def main():
    build("engine", {"name": "vllm", "max_len": 512}).start(nano.model(0), nano.tokenizer())
    print(*descendants(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


def folders() -> set[Path]:
    return set(SHARED.glob("agentgym-weights-*"))


async def test_it_keeps_every_promise_of_an_engine() -> None:
    before = folders()
    results = await check_engine(build("engine", CONFIG), nano.model(0), nano.tokenizer())
    assert len(results) == 12
    assert [f"{result.name}: {result.detail}" for result in results if not result.ok] == []
    assert folders() <= before  # what others left goes too


async def test_adapters_are_loaded_and_each_sample_ends_with_those_it_began_with() -> None:
    """Against the model with its adapters, by a plain forward pass."""
    import torch

    model, tokenizer = load_policy("nano", seed=0, lora=Lora(rank=8))
    prompt = list(range(20, 60))
    async with started(model, tokenizer) as engine:
        plain = await engine.sample(prompt, Sampling(max_tokens=16, seed=1))
        running = asyncio.create_task(engine.sample(prompt, Sampling(max_tokens=400, seed=2)))
        await engine.sample(prompt, Sampling(max_tokens=4))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_" in name:
                    weight.normal_(std=0.3)
        await engine.load(model, 1)
        adapted = await engine.sample(prompt, Sampling(max_tokens=16, seed=1))
        crossed = await running

        # Begun with version 1, and still running when there were three others.
        long = asyncio.create_task(engine.sample(prompt, Sampling(max_tokens=400, seed=3)))
        await engine.sample(prompt, Sampling(max_tokens=4))
        with torch.no_grad():
            learned = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
            kept = {name: weight.clone() for name, weight in learned.items()}
            for version in (2, 3, 4):
                for weight in learned.values():
                    weight.normal_(std=0.3)
                await engine.load(model, version)
                newer = await engine.sample(prompt, Sampling(max_tokens=4))
                assert set(newer.tokens.versions) == {version}
            for name, weight in learned.items():
                weight.copy_(kept[name])
        spanning = await long
        assert set(spanning.tokens.versions) == {1}
    assert (set(plain.tokens.versions), set(adapted.tokens.versions)) == ({0}, {1})
    assert set(crossed.tokens.versions) == {0}
    for sample, adapters in ((plain, False), (adapted, True), (crossed, False), (spanning, True)):
        ids = torch.tensor([[*prompt, *sample.tokens.ids]])
        model.eval()
        with torch.no_grad():
            if adapters:
                logits = model(ids).logits
            else:
                with model.disable_adapter():
                    logits = model(ids).logits
        own = logits[0].log_softmax(-1)[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0]
        assert sample.tokens.logprobs == pytest.approx(own.tolist(), abs=1e-3)


async def test_its_death_fails_what_was_asked_and_what_is_asked_later() -> None:
    before = descendants()
    async with started(nano.model(0), nano.tokenizer()) as engine:
        asked = asyncio.create_task(engine.sample([5, 6, 7], Sampling(max_tokens=500)))
        await engine.sample([5, 6, 7], Sampling(max_tokens=2))
        workers = [pid for pid, name in descendants().items() if pid not in before and name.startswith("VLLM")]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="vLLM"):
            await asyncio.wait_for(asked, 60)
        with pytest.raises(EngineError, match="vLLM"):
            await asyncio.wait_for(engine.sample([5, 6, 7], Sampling(max_tokens=2)), 60)
    with pytest.raises(EngineError, match="closed"):
        await engine.sample([5, 6, 7], Sampling(max_tokens=2))


async def test_none_of_its_processes_outlives_who_was_killed_nor_do_the_weights(tmp_path: Path) -> None:
    before = folders()
    script, said = tmp_path / "killed.py", tmp_path / "said"
    script.write_text(KILLED)
    with said.open("w") as out:
        process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=out)
        assert await process.wait() == -signal.SIGKILL
    pids = [int(pid) for pid in said.read_text().splitlines()[-1].split()]
    assert len(pids) > 1
    async with asyncio.timeout(60):
        while any(living(pid) for pid in pids) or folders() - before:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
