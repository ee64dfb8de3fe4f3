"""The weights that are trained, as arrays that Ray keeps once on each machine and maps into its processes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentgym.errors import EngineError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter's bytes; numpy knows fewer dtypes than torch, whose name `dtype` is."""

    bytes: np.ndarray[Any, np.dtype[np.uint8]]
    dtype: str
    shape: tuple[int, ...]


def export(model: Any) -> dict[str, Weight]:
    """Those of the parameters that are trained: with peft adapters, these alone. On a CPU they share the model's
    memory."""
    import torch

    return {
        name: Weight(
            parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(),
            str(parameter.dtype).removeprefix("torch."),
            tuple(parameter.shape),
        )
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def take(model: Any, weights: Mapping[str, Weight]) -> None:
    """Write them into a model of the same kind. Raises EngineError where it is none."""
    import torch

    parameters = dict(model.named_parameters())
    for name, weight in weights.items():
        parameter = parameters.get(name)
        if parameter is None or tuple(parameter.shape) != weight.shape:
            raise EngineError(f"the weights do not fit the model: {name} {list(weight.shape)}")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # it is only read
            flat = torch.from_numpy(weight.bytes).view(getattr(torch, weight.dtype))
            parameter.copy_(flat.view(weight.shape))
