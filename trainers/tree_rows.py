"""One row of tokens for a whole forest, each prefix once, through transformers' attention interface.

Linear layers run on the flat row of unique tokens; attention follows a plan, made once for a pack: bucketed (see
`tree_attention.py`), or FlexAttention on CUDA (see `flex_tree.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from agentgym.errors import ConfigError
from agentgym.trainers.base import Scored
from agentgym.trainers.flex_tree import FlexPlan
from agentgym.trainers.layout import Inputs, make_inputs
from agentgym.trainers.pack import Pack, pack_trajectories
from agentgym.trainers.tree_attention import BucketPlan

NAME = "agentgym_tree"


class Plan(Protocol):
    """A pack's attention."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D]. window: the latest tokens of its path, a
        token itself among them, that it may attend to; None: all."""
        ...


class TreeRows:
    """The layout `tree`. Raises ConfigError for a model that cannot attend by plans."""

    def __init__(self, model: Any) -> None:
        install(model)
        self.device = next(model.parameters()).device

    def packs(self, batch: Sequence[Scored], weights: Sequence[float], max_tokens: int) -> Iterator[Pack]:
        """See `Layout`."""
        return pack_trajectories(batch, weights, max_tokens)

    def inputs(self, pack: Pack, dtype: torch.dtype) -> Inputs:
        """See `Layout`."""
        ids = torch.tensor([[i for s in pack.segments for i in s.ids]], device=self.device)
        positions = [s.position + i for s in pack.segments for i in range(len(s.ids))]
        plan: Plan = (FlexPlan if self.device.type == "cuda" else BucketPlan)(pack, self.device)
        context = {"position_ids": torch.tensor([positions], device=self.device), "plan": plan}
        return make_inputs(pack, ids, context, dtype)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *,
    plan: Plan,
    scaling: float,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface; raises ConfigError for a layer with attention sinks."""
    if s_aux is not None:
        raise ConfigError(
            f"{type(module).__name__} has attention sinks, which packing=tree cannot; use packing=flat"
        )
    return plan.attend(query, key, value, scaling, sliding_window), None


def install(model: Any) -> None:
    """Let `model` attend by plans; raises ConfigError for one whose layers do more than attend to their path."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name, config = type(model).__name__, model.config
    if not getattr(model, "_supports_attention_backend", False):
        raise ConfigError(
            f"{name} does not go through transformers' attention interface, which packing=tree needs (Llama, "
            "Qwen2, Qwen3, Mistral and most newer decoders do); use packing=flat, one row for each trajectory"
        )
    layers = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if layers or getattr(model, "_is_stateful", False):
        what = ", ".join(sorted(layers)) or "a recurrent state"
        raise ConfigError(
            f"{name} has {what}, which packing=tree would carry from one branch into another; use packing=flat"
        )
    if getattr(config, "attn_logit_softcapping", None):
        raise ConfigError(f"{name} soft-caps its attention logits, which packing=tree cannot; use packing=flat")
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *_, **__: None)
    model.set_attn_implementation(NAME)
