"""A contestant: forward and backward passes over forests in one layout, a forest whenever it is told its seed."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from typing import Any

import torch
from forest import SIZES, Shape, make_forest, make_model

from agentgym.trainers.base import Packing, Scored
from agentgym.trainers.learner import Learner
from agentgym.trainers.losses.ppo_clip import PpoClip
from agentgym.trainers.reduce import token_weights

MICROBATCH_TOKENS = 16384


class Gradient(Learner):
    """Keeps the gradient instead of stepping."""

    def _step(self, lr: float) -> float:
        self.gradient = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        for parameter in self.parameters.values():
            parameter.grad = None
        return 0.0


def peak() -> float:
    """Most memory the process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(learner: Gradient, shape: Shape, seed: int, vocab: int) -> dict[str, float]:
    """Seconds of a forward and backward pass, by clock and by processor; tokens computed, and with padding."""
    group, rng = make_forest(shape, seed, vocab), random.Random(seed)
    batch = [Scored(group, leaf, advantage=rng.gauss(0, 1)) for leaf in group.leaves()]
    weights = token_weights([s.length for s in batch], [1.0] * len(batch), "token_mean")
    started, cpu = time.perf_counter(), time.process_time()
    metrics = learner.update(batch, weights, [PpoClip()], lr=1e-3, microbatch_tokens=MICROBATCH_TOKENS)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    packs = learner.layout.packs(batch, weights, MICROBATCH_TOKENS)
    padded = sum(learner.layout.inputs(pack, torch.float32).ids.numel() for pack in packs)
    return {"seconds": seconds, "cpu": cpu, "tokens": metrics["computed_tokens"], "padded": padded}


def main(packing: Packing, size: str, threads: str, shape: str, gradient_file: str) -> None:
    torch.set_num_threads(int(threads))
    learner: Any = Gradient(make_model(size), packing=packing)
    before = peak()
    for line in sys.stdin:
        told = step(learner, Shape(**json.loads(shape)), int(line), SIZES[size]["vocab_size"])
        print(json.dumps(told | {"peak": peak(), "more": peak() - before}), flush=True)
    torch.save(learner.gradient, gradient_file)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
