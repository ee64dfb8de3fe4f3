"""LLM `local`, with the embedded model."""

from __future__ import annotations

import pytest

from agentgym.config import build
from agentgym.errors import LlmError
from agentgym.services import Services
from agentgym.types import Message

HELLO: list[Message] = [{"role": "user", "content": "hello?"}]


async def test_a_local_model_answers_within_its_limits_and_counts() -> None:
    config = build("llm", {"name": "local", "max_len": 128, "device": "cpu"})
    async with Services() as services:
        llm = await services.get(config)
        assert llm is await services.get(build("llm", {"name": "local", "max_len": 128, "device": "cpu"}))
        greedy = await llm.complete(HELLO, n=2, temperature=0.0, max_tokens=5)
        assert len(greedy) == 2
        assert greedy[0] == greedy[1]
        varied = await llm.complete(HELLO, n=8, max_tokens=5)
        assert len(set(varied)) > 1
        prompt = len(llm.chat.open(HELLO))
        assert llm.spent.prompt_tokens == 2 * prompt
        assert 10 <= llm.spent.completion_tokens <= 50
        long: list[Message] = [{"role": "user", "content": "word " * 500}]
        with pytest.raises(LlmError, match="no room for a sample"):
            await llm.complete(long, n=2)
        assert llm.engine.slots_in_use == 0
    with pytest.raises(LlmError, match="closed"):
        await llm.complete(HELLO)
