"""By which tests tell models apart."""

from __future__ import annotations

from typing import Any

import torch

IDS = torch.tensor([[1, 120, 130, 140, 2, 150]])


def logits(model: Any) -> torch.Tensor:
    """Of a few ids."""
    with torch.no_grad():
        scores: torch.Tensor = model.eval()(input_ids=IDS).logits
    return scores
