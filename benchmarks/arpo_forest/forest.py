"""Forests in the shape of ARPO's rollouts (arXiv 2507.19849), of random tokens."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from agentgym.types import Group, Outcome, Task, Tokens, Turn

SIZES: dict[str, dict[str, int]] = {
    "nano": {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4},
    "larger": {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6},
}
"""nano: 0.85M parameters, as `model=nano`. larger: 6M."""


@dataclass(frozen=True)
class Shape:
    """trajectories: at the end; initial: started from the prompt. branch: probability of a fork after a tool's
    result, while there are fewer trajectories. turns: of each. prompt: tokens. sampled, observed: tokens in a turn
    on average; uniform from half to one and a half times that.
    """

    trajectories: int = 16
    initial: int = 8
    branch: float = 0.5
    turns: int = 4
    prompt: int = 256
    sampled: int = 64
    observed: int = 48


def make_forest(shape: Shape, seed: int, vocab: int = 512) -> Group:
    """One prompt's forest; each path tosses a coin after each of its tool's results, until the budget is spent."""
    rng = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(vocab) for _ in range(n))

    def about(mean: int) -> int:
        return rng.randint(mean - mean // 2, mean + mean // 2)

    group = Group(f"g{seed}", Task("t", "", ""))
    prompt = ids(shape.prompt)
    paths: list[int | None] = [None] * shape.initial
    count = shape.initial
    while paths:
        ends: list[int | None] = []
        for parent in paths:
            context = prompt if parent is None else ids(about(shape.observed))
            fork = parent is not None and count < shape.trajectories and rng.random() < shape.branch
            count += fork
            for _ in range(1 + fork):
                said = ids(about(shape.sampled))
                action = Tokens(said, tuple(-6 - rng.random() for _ in said))
                group.turns.append(Turn(parent, Tokens(context), action, outcome=Outcome.DONE))
                ends.append(len(group.turns) - 1)
        paths = [end for end in ends if end is not None and len(group.path(end)) < shape.turns]
        if not paths:  # what was not spent on forks starts from the prompt
            paths = [None] * (shape.trajectories - count)
            count = shape.trajectories
    return group


def make_model(size: str) -> Any:
    """A Qwen2 with random weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        **SIZES[size],
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    return Qwen2ForCausalLM(config)
