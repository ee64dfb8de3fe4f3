"""How long new weights take from the learner to those that sample, by each way that there is.

Two models with random weights: nano, and a Qwen2 of about 100 million parameters in float32. Ways: torch, shared
(the engine samples with the learner's own weights); torch, copy (an engine in the same process with weights of its
own); vllm (by a folder in memory, where vLLM is installed); ray (by the object store, into two replicas, which are
processes of their own, on a cluster that is started for it). Times are those of `engine.load`, until the engine
samples with the new weights, which change before each. GB/s: the size of the weights once, by the time, however
many replicas take them; of shared weights nothing moves. Rounds take turns with all ways, so that a slow minute
hits all.

    python benchmarks/weight_transfer.py --json weight_transfer.json
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from agentgym.config import build
from agentgym.models import nano
from agentgym.models.load import load_policy
from agentgym.opening import open_policy
from agentgym.run import resolve_settings

REPLICAS = 2
Live = tuple[Any, Any]
"""Model and engine."""


def write_models(folder: Path) -> dict[str, str]:
    """Name -> what `model=` takes."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    tokenizer = nano.tokenizer()
    config = Qwen2Config(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    path = folder / "qwen2-100m"
    Qwen2ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return {"nano": "nano", "qwen2-100m": str(path)}


@asynccontextmanager
async def engine_here(name: str, model: str, own: bool) -> AsyncIterator[Live]:
    """An engine of this process; own: with weights of its own from the start."""
    policy, tokenizer = load_policy(model, seed=0)
    engine = build("engine", name).start(copy.deepcopy(policy) if own else policy, tokenizer)
    try:
        yield policy, engine
    finally:
        await engine.close()


@asynccontextmanager
async def replicas(model: str) -> AsyncIterator[Live]:
    """On a cluster of their own."""
    cluster = {"name": "ray", "address": "local", "engines": REPLICAS, "workers": 1}
    settings = resolve_settings({"model": model, "device": "cpu", "cluster": cluster, "env": "maze"}, [])
    async with open_policy(settings) as (policy, _, engine, _):
        yield policy, engine


def ways(model: str) -> dict[str, Callable[[], AbstractAsyncContextManager[Live]]]:
    """Those that can be taken here; says of the others why not."""
    found: dict[str, Callable[[], AbstractAsyncContextManager[Live]]] = {
        "torch, shared": lambda: engine_here("torch", model, own=False),
        "torch, copy": lambda: engine_here("torch", model, own=True),
    }
    optional = {
        "vllm": lambda: engine_here("vllm", model, own=False),
        f"ray, {REPLICAS} replicas": lambda: replicas(model),
    }
    for name, way in optional.items():
        package = name.partition(",")[0]
        if find_spec(package):
            found[name] = way
        else:
            print(f"{name}: skipped, as {package} is not installed")
    return found


async def load_once(model: Any, engine: Any) -> float:
    """Seconds until it samples with weights that have just changed."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.999)
    began = time.perf_counter()
    await engine.load(model, engine.version + 1)
    return time.perf_counter() - began


async def compare(name: str, model: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each way."""
    seconds: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        live = {way: await stack.enter_async_context(start()) for way, start in ways(model).items()}
        for _ in range(rounds + 1):
            for way, (policy, engine) in live.items():
                seconds.setdefault(way, []).append(await load_once(policy, engine))
        size = sum(p.numel() * p.element_size() for p in next(iter(live.values()))[0].parameters())
    return [row(name, way, size, taken[1:]) for way, taken in seconds.items()]  # the first opens connections


def row(model: str, way: str, size: int, seconds: list[float]) -> dict[str, Any]:
    """What was found of a way."""
    median = statistics.median(seconds)
    moves = way != "torch, shared"
    return {
        "model": model,
        "megabytes": size / 1e6,
        "way": way,
        "median_s": median,
        "fastest_s": min(seconds),
        "slowest_s": max(seconds),
        "gigabytes_per_second": size / 1e9 / median if moves else None,
        "samples": len(seconds),
    }


def show(found: list[dict[str, Any]]) -> None:
    """A table on the screen."""
    print(f"{'model':12}{'MB':>7}  {'way':18}{'median s':>10}{'fastest':>9}{'slowest':>9}{'GB/s':>7}")
    for line in found:
        speed = line["gigabytes_per_second"]
        times = f"{line['median_s']:>10.4f}{line['fastest_s']:>9.4f}{line['slowest_s']:>9.4f}"
        told = "-" if speed is None else f"{speed:.2f}"
        print(f"{line['model']:12}{line['megabytes']:>7.1f}  {line['way']:18}{times}{told:>7}")


async def main() -> None:
    """Measure all and show it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, model in write_models(Path(folder)).items():
            found += await compare(name, model, options.rounds)
    show(found)
    if options.json:
        machine = {"python": platform.python_version(), "processors": os.cpu_count(), "load": os.getloadavg()}
        report = {"torch": torch.__version__, "machine": machine, "rows": found}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
