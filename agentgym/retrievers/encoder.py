"""Texts to vectors, by a transformer of which the last hidden states are pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModel, AutoTokenizer

from agentgym.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agentgym.retrievers.pyserini import Pyserini

BATCH = 32  # texts in one pass


class Encoder:
    """The encoder that `config` names. Raises ConfigError for one that cannot be loaded."""

    def __init__(self, config: Pyserini) -> None:
        self._config = config
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(config.encoder)
            self._model: Any = AutoModel.from_pretrained(config.encoder).to(config.device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"encoder {config.encoder}: {error}") from error

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a query."""
        return self._encode([self._config.query_prefix + text for text in texts])

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a passage."""
        return self._encode([self._config.passage_prefix + text for text in texts])

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        with torch.inference_mode():
            rows = torch.cat([self._pass(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)])
        found: NDArray[np.float32] = rows.float().cpu().numpy()
        return found

    def _pass(self, texts: list[str]) -> torch.Tensor:
        whole = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # a lone surrogate is no text
        read = self._tokenizer(
            whole, padding=True, truncation=True, max_length=self._config.max_length, return_tensors="pt"
        ).to(self._config.device)
        hidden = self._model(**read).last_hidden_state
        if self._config.pooling == "cls":
            vectors = hidden[:, 0]
        else:
            mask = read["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(vectors, dim=-1) if self._config.normalize else vectors
