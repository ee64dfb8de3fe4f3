"""The floor of an update: transformers' own forward and a backward pass on the tokens agentgym just trained on.

Each prompt is computed once, with a KV cache that keeps its graph; its samples continue from that cache, padded to
the longest, as one batch. Of padding it computes a few per cent; the attention is exactly each sample's own path.
The loss is the sum of the sampled tokens' log-probabilities: no clipping, no entropy, no metrics, no optimiser.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import case

from agentgym.runlog import read_forests
from agentgym.types import Group

GROUPS = 4
"""Groups in one forward pass; sixteen were no faster, and one was slower."""


def run(steps: case.Steps, folder: Path, tool: bool, count: int) -> None:
    model, _ = case.load(folder)
    for _ in range(count + 1):
        groups = read_forests(Path(steps.wait()))
        steps.start_clock()
        for start in range(0, len(groups), GROUPS):
            loss = negative_logprob(model, groups[start : start + GROUPS])
            loss.backward()
        model.zero_grad()
        steps.tell()


def negative_logprob(model: Any, groups: list[Group]) -> Any:
    """Of everything sampled in `groups`, whose prompts are equally long."""
    import torch

    paths = [path for group in groups for path in group.trajectories()]
    samples = len(paths) // len(groups)
    prompts = torch.tensor([group.turns[0].context.ids for group in groups])
    said = [
        [i for n, turn in enumerate(p) for i in (*(turn.context.ids if n else ()), *turn.action.ids)]
        for p in paths
    ]
    chosen = [
        [
            w
            for n, turn in enumerate(p)
            for w in ([0.0] * (len(turn.context) if n else 0) + [1.0] * len(turn.action))
        ]
        for p in paths
    ]
    ids, weights = (
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        for rows in (said, chosen)
    )
    prefix = model(input_ids=prompts, use_cache=True, logits_to_keep=1)
    cache = prefix.past_key_values
    cache.batch_repeat_interleave(samples)
    rest = model(input_ids=ids[:, :-1], past_key_values=cache).logits
    logits = torch.cat([prefix.logits.repeat_interleave(samples, 0), rest], 1)
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none")
    return (losses * weights.flatten()).sum()


if __name__ == "__main__":
    case.start(run)
