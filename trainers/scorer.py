"""What is computed of a micro-batch: a causal model, its critic if it has one, and the numbers of each entry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agentgym.trainers.layout import Inputs
from agentgym.trainers.token_stats import token_stats


class Scorer(nn.Module):
    """One module with one `forward`, so that whoever shards it sees each use of its weights."""

    def __init__(self, model: Any, critic: nn.Linear | None = None) -> None:
        super().__init__()
        self.model, self.critic = model, critic

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probabilities, entropies and the critic's values, of the entries."""
        decoder = self.model.get_decoder()
        hidden = decoder(input_ids=inputs.ids, use_cache=False, **inputs.context).last_hidden_state.flatten(0, 1)
        hidden = hidden[inputs.previous]
        logprobs, entropy = token_stats(self.model.get_output_embeddings(), hidden, inputs.targets)
        values = None
        if self.critic is not None:
            values = self.critic(hidden.to(self.critic.weight.dtype))[:, 0][inputs.entries]
        return logprobs[inputs.entries], entropy[inputs.entries], values


def new_critic(model: Any) -> nn.Linear:
    """A head beside the language model's, on the same hidden states; it thinks 0 of everything."""
    weight = model.get_output_embeddings().weight
    dtype = torch.promote_types(weight.dtype, torch.float32)
    head = nn.Linear(weight.shape[1], 1, device=weight.device, dtype=dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
