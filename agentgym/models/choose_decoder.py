"""Which forward pass the engine runs a model with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agentgym.errors import ConfigError
from agentgym.models.decoder import Decoder
from agentgym.models.hf_decoder import HFDecoder
from agentgym.models.llama_decoder import LlamaDecoder


def choose_decoder(model: Any, max_len: int) -> Decoder:
    """The fast forward pass where the architecture has one, else transformers' own; checked against the
    model's plain forward on a few tokens. Raises ConfigError for attention that neither honours."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    _refuse_short_window(base.config, max_len)
    if LlamaDecoder.fits(base.config):
        decoder: Decoder = LlamaDecoder(base, max_len)
    else:
        decoder = HFDecoder(base)
    with torch.inference_mode():
        _check(base, decoder)
    return decoder


def _refuse_short_window(config: Any, max_len: int) -> None:
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    slides = "sliding_attention" in types if types else getattr(config, "use_sliding_window", True)
    if window is not None and slides and window < max_len:
        raise ConfigError(
            f"engine torch: {config.model_type} attends to a window of {window} tokens, which this engine does "
            f"not do, and max_len is {max_len}; set engine.max_len={window} or use engine=vllm"
        )


def _check(model: Any, decoder: Decoder) -> None:
    """Three tokens through both forwards; a feature that the decoder misses shows in the logits."""
    weight = next(model.parameters())
    ids = torch.tensor([1, 2, 3], device=weight.device) % model.config.vocab_size

    def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
        groups = q.shape[1] // decoder.kv_heads
        k, v = (x.repeat_interleave(groups, 1).transpose(0, 1) for x in kv.chunk(2, 1))
        scores = (q.transpose(0, 1) @ k.transpose(1, 2)).float()
        scores += torch.full_like(scores, -torch.inf).triu(1)
        attended: Tensor = scores.softmax(-1).to(q.dtype) @ v
        return attended.transpose(0, 1)

    ours = decoder(ids, torch.arange(3, device=weight.device), attend, logits=True)
    theirs = model(input_ids=ids[None], use_cache=False).logits[0].float()
    assert ours is not None
    apart = float((ours - theirs).abs().max())
    allowed = float(theirs.abs().max().clamp(min=1.0)) * (1e-3 if weight.dtype == torch.float32 else 5e-2)
    if not apart <= allowed:
        raise ConfigError(
            f"engine torch: {model.config.model_type} computes something this engine does not (logits differ by "
            f"{apart:.3g}, {allowed:.3g} is rounding); use engine=vllm"
        )
