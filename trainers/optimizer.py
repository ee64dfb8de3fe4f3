"""The optimiser: AdamW, or Muon for the hidden matrices with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

OptimizerName = Literal["adamw", "muon"]


class Optimizer:
    """Steps named parameters, and gives its state by parameter name.

    muon: orthogonalised momentum for the matrices between embedding and head (Jordan et al. 2024), its updates
    scaled to AdamW's (arXiv 2502.16982), so that one learning rate serves both; small models learn from
    scratch in about half the steps. What is no such matrix is AdamW's.
    """

    def __init__(
        self, name: OptimizerName, weights: Mapping[str, Tensor], *, weight_decay: float, beta2: float
    ) -> None:
        self.weights = dict(weights)
        hidden = {n for n, w in self.weights.items() if name == "muon" and w.ndim == 2 and not _is_outer(n)}
        rest = [w for n, w in self.weights.items() if n not in hidden]
        matrices = [w for n, w in self.weights.items() if n in hidden]
        self._parts: list[torch.optim.Optimizer] = []
        if rest:
            self._parts.append(torch.optim.AdamW(rest, betas=(0.9, beta2), weight_decay=weight_decay, fused=True))
        if matrices:
            self._parts.append(
                torch.optim.Muon(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            )

    def step(self, lr: float) -> None:
        """One step along the weights' `grad` at learning rate `lr`."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()

    def state_tensors(self) -> dict[str, Tensor]:
        """`kind|name` -> tensor, for every weight that has been stepped."""
        found: dict[str, Tensor] = {}
        for name, weight in self.weights.items():
            for part in self._parts:
                found |= {f"{kind}|{name}": value for kind, value in part.state.get(weight, {}).items()}
        return found

    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` gave; other keys are ignored."""
        owner = {id(w): part for part in self._parts for group in part.param_groups for w in group["params"]}
        for name, weight in self.weights.items():
            kinds: dict[str, Any] = {}
            for key, value in state.items():
                kind, _, of = key.partition("|")
                if of == name and kind != "weight":
                    kinds[kind] = value.to(weight.device, copy=True)
            if kinds:
                owner[id(weight)].state[weight] = kinds


def _is_outer(name: str) -> bool:
    """Embeddings and heads: Muon is for what lies between them."""
    return "embed" in name or "lm_head" in name or name.startswith("critic.")
