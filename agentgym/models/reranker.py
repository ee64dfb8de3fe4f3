"""A reranker's opinion of what was found: what judgements are held against where no gold passages are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reranker:
    """A service. model: a sequence classifier with one logit, by path or Hugging Face id, such as
    BAAI/bge-reranker-large, which ReSeek (arXiv 2510.00568) uses. max_tokens: of a pair; what is longer is cut."""

    model: str
    max_tokens: int = 512

    async def open(self) -> LiveReranker:
        import asyncio

        return await asyncio.to_thread(LiveReranker, self)


class LiveReranker:
    """The live model, on the CPU. Raises ConfigError for one that is not there or is no reranker."""

    def __init__(self, config: Reranker) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from agentgym.errors import ConfigError

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(config.model)
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(config.model).eval()
        except (OSError, ValueError) as error:
            raise ConfigError(f"reranker={config.model}: {str(error).splitlines()[0]}") from error
        if self._model.config.num_labels != 1:
            labels = self._model.config.num_labels
            raise ConfigError(f"reranker={config.model}: it has {labels} labels, and a reranker has one score")
        self._max_tokens = config.max_tokens

    async def score(self, answer: str, text: str) -> float:
        """How well the text fits the answer, from 0 to 1."""
        import asyncio

        return await asyncio.to_thread(self._score, answer, text)

    async def close(self) -> None:
        """Nothing is held but memory."""

    def _score(self, answer: str, text: str) -> float:
        import torch

        pair = self._tokenizer(answer, text, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        with torch.inference_mode():
            return float(self._model(**pair).logits[0, 0].sigmoid())
