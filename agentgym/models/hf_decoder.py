"""Any causal model of transformers that takes its attention from the attention interface."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agentgym.errors import ConfigError
from agentgym.models.decoder import Attend

NAME = "agentgym_slots"


class HFDecoder:
    """A `Decoder` that runs the model's own forward on all tokens side by side, as one row.

    For the time of a call the model's attention implementation is ours; no other thread may run it then.
    """

    def __init__(self, model: Any) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, _attention)
        self.model = model
        shapes: dict[int, tuple[int, ...]] = {}

        def look(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            shapes[layer] = tuple(kv.shape)
            return q

        with torch.inference_mode():
            zero = torch.zeros(1, dtype=torch.long, device=model.device)
            self(zero, zero, look, logits=False)
        self.layers: int = model.config.num_hidden_layers
        if sorted(shapes) != list(range(self.layers)) or len(set(shapes.values())) > 1:
            raise ConfigError(
                f"engine torch: {model.config.model_type} has {self.layers} layers and asked transformers' "
                f"attention interface in {sorted(shapes)}, with keys and values {sorted(set(shapes.values()))}; "
                "this engine needs one shape in all layers. Use engine=vllm"
            )
        _, both, self.head_dim = shapes[0]
        self.kv_heads = both // 2

    def __call__(self, ids: Tensor, positions: Tensor, attend: Attend, *, logits: bool) -> Tensor | None:
        """See `Decoder`."""
        config = self.model.config
        before = config._attn_implementation
        config._attn_implementation = NAME
        try:
            out = self.model(
                input_ids=ids[None],
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=0 if logits else 1,
                slots=attend,
            )
        except TypeError as error:
            raise ConfigError(
                f"engine torch: {config.model_type} takes no attention from outside ({error}); use engine=vllm"
            ) from error
        finally:
            config._attn_implementation = before
        scores: Tensor = out.logits[0]
        return scores.float() if logits else None

    def refresh(self) -> None:
        """Nothing is derived from the weights."""


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    slots: Attend,
    scaling: float | None = None,
    **features: Any,
) -> tuple[Tensor, None]:
    """The attention interface's form: query [1, heads, tokens, head_dim] -> [1, tokens, heads, head_dim]."""
    for feature in ("softcap", "s_aux", "position_bias"):
        if features.get(feature) is not None:
            raise ConfigError(
                f"engine torch: {type(module).__name__} uses {feature!r}, which this engine's attention does not "
                "do; use engine=vllm"
            )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q = query[0].transpose(0, 1) * scale
    kv = torch.cat([key[0], value[0]]).transpose(0, 1)
    return slots(module.layer_idx, q, kv)[None], None
