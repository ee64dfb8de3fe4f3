"""Attention over a packed forest: a segment sees its own path and nothing else.

Works for every Hugging Face decoder that goes through transformers' attention interface: linear layers run
on the flat row of unique tokens, and only here queries and keys are gathered into buckets of segments with
similar lengths, each with its path's keys in front of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from agentgym.errors import ConfigError
from agentgym.trainers.pack import Pack, Segment

NAME = "agentgym_tree"
_WASTE = 1.25
"""A bucket's padded attention may cost this much more than its segments' own."""


@dataclass(slots=True)
class Bucket:
    """Segments attended to together.

    queries [N, Lq], keys [N, Lk]: row indices, padded with 0. mask [N, 1, Lq, Lk]: True may attend; None: causal.
    places: flat positions in [N * Lq] of the queries that are no padding. rows: their rows.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor | None
    places: Tensor
    rows: Tensor


@dataclass(slots=True)
class Plan:
    """A pack's attention. order: for each row, where its output stands in the buckets' concatenated results."""

    buckets: list[Bucket]
    order: Tensor


def make_plan(pack: Pack, device: torch.device) -> Plan:
    """The plan of a closed pack."""
    segments = pack.segments
    spans = [_path_length(segment) for segment in segments]
    order = sorted(range(len(segments)), key=lambda i: (len(segments[i].ids), spans[i]))
    buckets = [_bucket(segments, chosen, device) for chosen in _similar(segments, order)]
    rows = torch.cat([b.rows for b in buckets])
    inverse = torch.empty_like(rows)
    inverse[rows] = torch.arange(len(rows), device=device)
    return Plan(buckets, inverse)


def _path_length(segment: Segment) -> int:
    return segment.position + len(segment.ids)


def _similar(segments: Sequence[Segment], order: Sequence[int]) -> Iterator[list[int]]:
    """Split `order` where padding would cost more than allowed."""
    chosen: list[int] = []
    own, queries, keys = 0, 0, 0
    for i in order:
        if not segments[i].ids:
            continue
        lq, lk = len(segments[i].ids), _path_length(segments[i])
        padded = (len(chosen) + 1) * max(queries, lq) * max(keys, lk)
        if chosen and padded > _WASTE * (own + lq * lk) + 4096:
            yield chosen
            chosen, own, queries, keys = [], 0, 0, 0
        chosen.append(i)
        own, queries, keys = own + lq * lk, max(queries, lq), max(keys, lk)
    if chosen:
        yield chosen


def _bucket(segments: Sequence[Segment], chosen: Sequence[int], device: torch.device) -> Bucket:
    queries = [torch.arange(len(segments[i].ids)) + segments[i].offset for i in chosen]
    keys = [torch.cat([*_ancestors(segments, i), q]) for i, q in zip(chosen, queries, strict=True)]
    lengths = torch.tensor([len(q) for q in queries])
    starts = torch.tensor([segments[i].position for i in chosen])
    pad = torch.nn.utils.rnn.pad_sequence
    query_rows, key_rows = pad(queries, batch_first=True), pad(keys, batch_first=True)
    mask = None
    if len(chosen) > 1 or int(starts[0]) > 0:
        last = starts[:, None] + torch.arange(query_rows.shape[1])  # the key that a query stands on
        mask = (torch.arange(key_rows.shape[1]) <= last[:, :, None])[:, None]
        mask = mask.to(device)
    real = torch.arange(query_rows.shape[1]) < lengths[:, None]
    places = real.flatten().nonzero()[:, 0]
    return Bucket(
        query_rows.to(device), key_rows.to(device), mask, places.to(device), torch.cat(queries).to(device)
    )


def _ancestors(segments: Sequence[Segment], index: int) -> list[Tensor]:
    """Rows of the path before a segment, root first. A parent may go on after the fork: only its part counts."""
    rows: list[Tensor] = []
    position, parent = segments[index].position, segments[index].parent
    while parent is not None:
        above = segments[parent]
        rows.append(torch.arange(position - above.position) + above.offset)
        position, parent = above.position, above.parent
    return rows[::-1]


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *,
    plan: Plan,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface. query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D]."""
    heads, kv_heads, dim = query.shape[1], key.shape[1], query.shape[3]
    q, k, v = (x[0].transpose(0, 1).reshape(x.shape[2], -1) for x in (query, key, value))  # [T, heads * D]
    outputs = []
    for bucket in plan.buckets:
        n, lq = bucket.queries.shape
        bq = q[bucket.queries].view(n, lq, heads, dim).transpose(1, 2)
        bk, bv = (x[bucket.keys].view(n, -1, kv_heads, dim).transpose(1, 2) for x in (k, v))
        if kv_heads != heads:
            bk, bv = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (bk, bv))
        out = F.scaled_dot_product_attention(
            bq, bk, bv, attn_mask=bucket.mask, is_causal=bucket.mask is None, scale=scaling
        )
        outputs.append(out.transpose(1, 2).reshape(n * lq, heads * dim)[bucket.places])
    flat = torch.cat(outputs)[plan.order]
    return flat.view(1, -1, heads, dim), None


def install(model: Any) -> None:
    """Let `model` attend by plans; raises ConfigError for a model outside transformers' attention interface."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *_, **__: None)
    if not getattr(model, "_supports_attention_backend", False):
        raise ConfigError(
            f"{type(model).__name__} does not go through transformers' attention interface, which packed "
            "training needs; Llama, Qwen2, Qwen3, Mistral and most newer decoders do"
        )
    config = model.config
    if getattr(config, "attn_logit_softcapping", None):
        raise ConfigError(f"{type(model).__name__} soft-caps its attention logits, which is not supported yet")
    model.set_attn_implementation(NAME)
