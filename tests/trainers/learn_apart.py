"""A process that learns its share of some batches: torchrun learn_apart.py replicated|sharded FILE."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from agentgym.models import nano
from agentgym.parallel import ALONE, Peers
from agentgym.trainers.base import Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.kl import Kl
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.losses.value import Value
from agentgym.types import Group, Outcome, Task, Tokens, Turn

LENGTHS = {"even": [3, 3, 3, 3], "uneven": [1, 40, 2, 2, 2], "single": [5]}
"""Batches: for each group, tokens that each of its two trajectories sampled. Of a single group, a process of two
has nothing."""


def make_batch(lengths: list[int]) -> list[Scored]:
    rng = random.Random(str(lengths))
    found: list[Scored] = []
    for number, length in enumerate(lengths):
        group = Group(f"g{number}", Task("t", "p", "a"))
        context = Tokens(tuple(rng.randrange(300) for _ in range(4)))
        for leaf in range(2):
            ids = tuple(rng.randrange(300) for _ in range(length))
            action = Tokens(ids, logprobs=tuple(rng.uniform(-6, -5) for _ in ids))
            group.turns.append(Turn(None, context, action, outcome=Outcome.DONE))
            values, goals = ([rng.uniform(-1, 1) for _ in ids] for _ in range(2))
            found.append(Scored(group, leaf, advantage=rng.uniform(-1, 1), values=values, goals=goals))
    return found


def learn(peers: Peers = ALONE, shard: bool = False) -> dict[str, Tensor]:
    """A step on each of the batches. After each: what it measured, what a trainer saves (of which `exp_avg` is the
    gradient's average), and the weights that an engine gets."""
    learner = Learner(nano.model(0).double(), critic=True, max_grad_norm=1e9, peers=peers, shard=shard)
    learner.keep_reference()
    found: dict[str, Tensor] = {}
    for name, lengths in LENGTHS.items():
        batch = make_batch(lengths)
        learner.recompute(batch, 32)
        logprobs = [x for scored in batch for x in scored.proximal or ()]
        weights = [1 / sum(scored.length for scored in batch)] * len(batch)
        losses = [PpoClip(), Kl(coef=0.5), Value()]
        metrics = learner.update(batch, weights, losses, lr=1e-3, microbatch_tokens=32)
        rows = learner.state_tensors() | {f"engine|{n}": p for n, p in learner.model.named_parameters()}
        rows |= {"logprobs": torch.tensor(logprobs, dtype=torch.float64)}
        rows |= {f"metric|{n}": torch.tensor(x, dtype=torch.float64) for n, x in metrics.items()}
        found |= {f"{name} {key}": value.detach().clone() for key, value in rows.items()}
    return found


def main(kind: str, file: Path) -> None:
    peers = Peers.join("cpu")
    found = learn(peers, shard=kind == "sharded")
    if peers.first:
        save_file(found, file)
    peers.leave()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
