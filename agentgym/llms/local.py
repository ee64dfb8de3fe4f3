"""LLM `local`: a model in this process, sampled by the engine `torch`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agentgym.engine import Sample, Sampling
from agentgym.errors import EngineError, LlmError
from agentgym.llm import Spent
from agentgym.ranges import above
from agentgym.types import Message

if TYPE_CHECKING:
    from agentgym.engines.scheduler import TorchEngine
    from agentgym.models.chat import Chat


@dataclass(frozen=True)
class Local:
    """A model of its own, with weights that stay as they are.

    model: `nano`, a folder in Hugging Face's layout, or a Hugging Face id. device: auto is CUDA where there is
    one. dtype: auto is float32 on a CPU and bfloat16 on CUDA. seed: of samples and the built-in model.
    max_sequences: answers at once. max_len: tokens of a prompt and its answer. timeout: seconds for the answers to
    one question.
    """

    model: str = "nano"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 0
    max_sequences: int = 32
    max_len: int = 4096
    timeout: float = 300.0

    def __post_init__(self) -> None:
        above(self, 0, "max_sequences", "max_len", "timeout")

    async def open(self) -> LocalLlm:
        """Load the model; raises ConfigError when there is none."""
        from agentgym.engines.torch import Torch
        from agentgym.models.chat import Chat
        from agentgym.models.load import load_policy, resolve_device

        device = resolve_device(self.device)
        model, tokenizer = load_policy(self.model, seed=self.seed, device=device, dtype=self.dtype)
        engine = Torch(max_sequences=self.max_sequences, max_len=self.max_len, seed=self.seed)
        return LocalLlm(self, engine.start(model, tokenizer), Chat(tokenizer))


class LocalLlm:
    """See `Llm`. Schemas are not enforced."""

    def __init__(self, config: Local, engine: TorchEngine, chat: Chat) -> None:
        self.config, self.engine, self.chat = config, engine, chat
        self.spent = Spent()

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """See `Llm`."""
        ids = self.chat.open(messages)
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
        try:
            async with asyncio.timeout(self.config.timeout), asyncio.TaskGroup() as group:
                asking = [group.create_task(self._sample(ids, sampling)) for _ in range(n)]
        except TimeoutError as error:
            raise self._failure(f"no answer within {self.config.timeout:g} s") from error
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        samples = [task.result() for task in asking]
        self.spent.requests += 1
        self.spent.prompt_tokens += len(ids)
        self.spent.completion_tokens += sum(len(sample.tokens) for sample in samples)
        return [sample.text for sample in samples]

    async def close(self) -> None:
        """See `Llm`."""
        await self.engine.close()

    async def _sample(self, ids: Sequence[int], sampling: Sampling) -> Sample:
        try:
            return await self.engine.sample(ids, sampling)
        except EngineError as error:
            raise self._failure(str(error)) from error

    def _failure(self, reason: str) -> LlmError:
        return LlmError(f"llm local: {self.config.model}: {reason}")
