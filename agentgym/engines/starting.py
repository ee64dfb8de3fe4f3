"""Starts an engine in a way that it has the model's weights."""

from __future__ import annotations

from typing import Any

from agentgym.engine import Engine, EngineConfig


async def start_engine(config: EngineConfig, model: Any, tokenizer: Any) -> Engine:
    """The engine that `config` describes, for this model. One that samples somewhere else is given the weights at
    once, so that what cannot work is known before anything was done."""
    engine = config.start(model, tokenizer)
    if begin := getattr(engine, "begin", None):
        try:
            await begin(model)
        except BaseException:
            await engine.close()
            raise
    return engine
