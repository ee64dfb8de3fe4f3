"""The engine `vllm`: samples with vLLM, beside the learner and with its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agentgym.errors import ConfigError
from agentgym.ranges import at_least

if TYPE_CHECKING:
    from agentgym.engines.vllm_engine import VllmEngine

OLDEST = (0, 30)
"""First version that can be told to pause, to load weights from a folder and to go on."""


@dataclass(frozen=True)
class Vllm:
    """vLLM with paged memory, prefix caching and tensor parallelism; on GPUs, or on a CPU with its CPU build.

    dtype: auto is the learner's. max_len: tokens of a sequence, prompt and samples together; None, or more than
    that: the model's own limit. max_sequences: sampled at once; others wait.
    tensor_parallel_size: GPUs that share the model.
    gpu_memory_utilization: share of a GPU's memory that vLLM takes; the learner needs some where it shares one.
    top_logprobs: tokens whose probabilities say a token's entropy; 0: the whole vocabulary, exact and slow.
    more: further arguments of vLLM's AsyncEngineArgs. seed: of samples.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_len: int | None = None
    max_sequences: int = 256
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.5
    top_logprobs: int = 20
    seed: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    copies_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(self, 1, "max_len", "max_sequences", "tensor_parallel_size")
        at_least(self, 0, "top_logprobs")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(f"gpu_memory_utilization must be in (0, 1], not {self.gpu_memory_utilization}")

    def start(self, model: Any, tokenizer: Any) -> VllmEngine:
        """An engine with a copy of `model`, a causal transformers model, with or without peft adapters, which it
        is given anew by `load`. Within a running event loop. Raises ConfigError where vLLM is not installed, too
        old, or does not start."""
        check_version()
        from agentgym.engines.vllm_engine import VllmEngine

        return VllmEngine(model, tokenizer, self)


def check_version() -> None:
    """Raises ConfigError without a vLLM that can be used."""
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(
            "engine vllm needs the package vllm: pip install -e '.[vllm]' on a machine with a GPU; "
            f"docs/engines.md says what to do on a CPU ({error})"
        ) from error
    numbers = tuple(int(part) for part in re.findall(r"\d+", vllm.__version__)[:2])
    if numbers < OLDEST:
        raise ConfigError(
            f"engine vllm needs vLLM {'.'.join(map(str, OLDEST))} or newer, and {vllm.__version__} is installed"
        )
