"""The Llama family's forward pass (Llama, Mistral, Qwen2, Qwen3) in few, large operations.

It computes with the module's own parameters. Projections that read the same input are laid side by side in
memory, the parameters becoming views of the joint matrix: one product instead of three, and no copy to keep
up to date. Projections wrapped by adapters are called as modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agentgym.models.decoder import Attend


class LlamaDecoder:
    """A `Decoder` over the submodules of a transformers model of the family."""

    FAMILY: ClassVar = ("llama", "mistral", "qwen2", "qwen3")

    def __init__(self, model: Any, max_len: int) -> None:
        config = model.config
        self.model = model
        self.layers: int = config.num_hidden_layers
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.refresh()
        self._tables(max_len)

    @staticmethod
    def fits(config: Any) -> bool:
        """Whether the config is one this forward pass computes."""
        rope = (config.rope_parameters or {}).get("rope_type") if hasattr(config, "rope_parameters") else None
        fixed = rope in ("default", "linear", "llama3", "yarn")  # others change with the sequence's length
        return config.model_type in LlamaDecoder.FAMILY and config.hidden_act == "silu" and fixed

    def refresh(self) -> None:
        """Join the projections' parameters again where something has moved them apart."""
        self.blocks = [Block.of(layer) for layer in self.model.model.layers]

    def _tables(self, max_len: int) -> None:
        """Rotary tables, and what turns a head's row of them into q's (scaled), k's (plain) or v's (identity)."""
        like = self.model.model.embed_tokens.weight
        positions = torch.arange(max_len, device=like.device)[None]
        with torch.inference_mode():
            cos, sin = self.model.model.rotary_emb(like[:1], positions)
            half = self.head_dim // 2
            self.cos, self.sin = cos[0, :, None], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)[:, None]
            turned = [self.head_dim**-0.5] * self.heads + [1.0] * self.kv_heads + [0.0] * self.kv_heads
            self.turned = like.new_tensor(turned)[:, None]
            self.kept = (self.turned == 0).to(like.dtype)

    def _before(self, block: Block, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """A layer up to its attention: q, k and v side by side."""
        qkv = block.qkv(_norm(block.norm1, x)).view(x.shape[0], -1, self.head_dim)
        if block.q_norm is not None:
            q, k, v = qkv.tensor_split((self.heads, self.heads + self.kv_heads), 1)
            qkv = torch.cat([_norm(block.q_norm, q), _norm(block.k_norm, k), v], 1)
        return torch.addcmul(qkv * cos, qkv.roll(self.head_dim // 2, -1), sin)

    def _after(self, block: Block, x: Tensor, attended: Tensor) -> Tensor:
        """A layer from its attention on."""
        x = _add_product(x, attended.reshape(x.shape[0], -1), block.out)
        return block.add_mlp(x, _norm(block.norm2, x))

    def __call__(self, ids: Tensor, positions: Tensor, attend: Attend, *, logits: bool) -> Tensor | None:
        """See `Decoder`."""
        x = F.embedding(ids, self.model.model.embed_tokens.weight)
        cos = torch.addcmul(self.kept, self.cos[positions], self.turned)
        sin = self.sin[positions] * self.turned
        for number, block in enumerate(self.blocks):
            qkv = self._before(block, x, cos, sin)
            attended = attend(number, qkv[:, : self.heads], qkv[:, self.heads :])
            x = self._after(block, x, attended)
        if not logits:
            return None
        scores: Tensor = self.model.lm_head(_norm(self.model.model.norm, x))
        return scores.float()


@dataclass(slots=True)
class Block:
    """One layer. gate_up: both projections joined; None where the MLP is called as a module."""

    norm1: Any
    norm2: Any
    q_norm: Any
    k_norm: Any
    out: nn.Module
    mlp: nn.Module
    projections: list[nn.Module]
    joint: tuple[Tensor, Tensor | None] | None
    gate_up: tuple[Tensor, Tensor | None] | None
    down: nn.Module

    @classmethod
    def of(cls, layer: Any) -> Block:
        """The parts of a transformers decoder layer."""
        attention, mlp = layer.self_attn, layer.mlp
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        return cls(
            norm1=layer.input_layernorm,
            norm2=layer.post_attention_layernorm,
            q_norm=getattr(attention, "q_norm", None),
            k_norm=getattr(attention, "k_norm", None),
            out=attention.o_proj,
            mlp=mlp,
            projections=projections,
            joint=join(projections),
            gate_up=join([mlp.gate_proj, mlp.up_proj]),
            down=mlp.down_proj,
        )

    def qkv(self, x: Tensor) -> Tensor:
        """[tokens, (heads + 2 * kv_heads) * head_dim]"""
        if self.joint is None:
            return torch.cat([projection(x) for projection in self.projections], -1)
        return F.linear(x, *self.joint)

    def add_mlp(self, x: Tensor, normed: Tensor) -> Tensor:
        """x plus the MLP of its norm."""
        if self.gate_up is None:
            mlp: Tensor = self.mlp(normed)
            return x + mlp
        gate, up = F.linear(normed, *self.gate_up).chunk(2, -1)
        return _add_product(x, F.silu(gate).mul_(up), self.down)


def join(modules: list[nn.Module]) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias of several linear layers as one, their parameters made views of it; None when one of
    them is not a plain linear layer. Values, gradients and optimiser state stay what they were."""
    linears = [module for module in modules if type(module) is nn.Linear]
    if len(linears) < len(modules) or len({linear.bias is None for linear in linears}) > 1:
        return None
    weight = _joined([linear.weight for linear in linears])
    if linears[0].bias is None:
        return weight, None
    return weight, _joined([linear.bias for linear in linears])


@torch.inference_mode(False)
@torch.no_grad()
def _joined(parameters: list[Tensor]) -> Tensor:
    """The parameters along their first dimension; joined already, it is the matrix they are views of."""
    first, size = parameters[0], sum(parameter.numel() for parameter in parameters)
    end, adjacent = first.data_ptr(), True
    for parameter in parameters:
        adjacent &= parameter.data_ptr() == end and parameter.is_contiguous()
        end = parameter.data_ptr() + parameter.numel() * parameter.element_size()
    shape = (size // first[0].numel(), *first.shape[1:])
    room = first.untyped_storage().nbytes() // first.element_size() - first.storage_offset()
    if adjacent and room >= size:
        return first.data.as_strided(shape, first.stride())
    whole = torch.cat([parameter.data for parameter in parameters])
    row = 0
    for parameter in parameters:
        parameter.data = whole[row : row + parameter.shape[0]]
        row += parameter.shape[0]
    return whole


def _norm(module: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), module.weight, module.variance_epsilon)


def _add_product(x: Tensor, y: Tensor, linear: nn.Module) -> Tensor:
    """x + linear(y), in one operation when it is a plain product."""
    if type(linear) is nn.Linear and linear.bias is None:
        return torch.addmm(x, y, linear.weight.t())
    product: Tensor = linear(y)
    return x + product
