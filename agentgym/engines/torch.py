"""The engine `torch`: samples from a transformers model in this process, with the learner's own weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agentgym.errors import ConfigError
from agentgym.ranges import at_least

if TYPE_CHECKING:
    from agentgym.engines.scheduler import TorchEngine


@dataclass(frozen=True)
class Torch:
    """Continuous batching over a KV cache of slots.

    device, dtype: auto is the model's own, so that the weights are shared.
    max_sequences: slots, for sequences being sampled and for sessions waiting for a tool.
    max_len: tokens of a sequence, prompt and samples together; None, or more than that: the model's own limit.
    prefill_tokens: most prompt tokens computed between two decode steps. seed: of samples.
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_sequences: int = 256
    max_len: int | None = None
    prefill_tokens: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "max_sequences", "max_len", "prefill_tokens")

    def start(self, model: Any, tokenizer: Any) -> TorchEngine:
        """An engine for `model` (a causal transformers model, with or without peft adapters).

        A model already on the engine's device and in its dtype is shared: training it changes what is
        sampled. Otherwise the engine works on a converted copy, which `load` brings up to date.
        """
        import copy

        import torch

        from agentgym.engines.scheduler import TorchEngine
        from agentgym.models.load import convert

        weight = next(model.parameters())
        device = weight.device if self.device == "auto" else torch.device(self.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ConfigError(f"engine torch: device={self.device!r}, but torch sees no GPU here; use device=cpu")
        dtype = weight.dtype if self.dtype == "auto" else getattr(torch, self.dtype)
        if own := weight.dtype != dtype or weight.device.type != device.type:
            model = convert(copy.deepcopy(model), device, dtype)
        return TorchEngine(model, tokenizer, self, shares_weights=not own)
