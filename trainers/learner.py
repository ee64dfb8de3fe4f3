"""The learner: packs through the model, losses into gradients, one optimiser."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from agentgym.trainers.base import LossTerm, Packing, Scored, TokenBatch
from agentgym.trainers.flat_rows import FlatRows
from agentgym.trainers.layout import Inputs, Layout
from agentgym.trainers.optimizer import Optimizer, OptimizerName
from agentgym.trainers.pack import Pack
from agentgym.trainers.token_stats import check_head, token_stats
from agentgym.trainers.tree_rows import TreeRows

LAYOUTS: dict[Packing, Callable[[Any], Layout]] = {"tree": TreeRows, "flat": FlatRows}


class Learner:
    """Owns the trained parameters. The engine may share `model`; it must be told when a step was taken."""

    def __init__(
        self,
        model: Any,
        *,
        packing: Packing = "tree",
        optimizer: OptimizerName = "adamw",
        weight_decay: float = 0.0,
        beta2: float = 0.999,
        max_grad_norm: float = 1.0,
        critic: bool = False,
    ) -> None:
        self.model = model
        self.causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
        check_head(self.causal_lm)
        self.layout = LAYOUTS[packing](self.causal_lm)
        self.device = next(model.parameters()).device
        self.max_grad_norm = max_grad_norm
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.critic = self._new_critic() if critic else None
        # Small steps vanish in bfloat16, so narrow weights get a float32 master copy, and that is stepped.
        self.masters = {n: p if p.dtype.itemsize >= 4 else p.detach().float() for n, p in self.parameters.items()}
        self.optimizer = Optimizer(optimizer, self.masters, weight_decay=weight_decay, beta2=beta2)
        self.reference: Any = None
        self.skipped = 0

    def _new_critic(self) -> torch.nn.Linear:
        """A head beside the language model's, on the same hidden states; it thinks 0 of everything."""
        width = self.causal_lm.get_output_embeddings().weight.shape[1]
        dtype = torch.promote_types(next(self.causal_lm.parameters()).dtype, torch.float32)
        head = torch.nn.Linear(width, 1, device=self.device, dtype=dtype)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        self.parameters |= {f"critic.{name}": weight for name, weight in head.named_parameters()}
        return head

    def keep_reference(self) -> None:
        """Freeze a copy of the current policy for the losses that need one."""
        self.reference = copy.deepcopy(self.causal_lm).requires_grad_(False).eval()

    def restore_reference(self, state: dict[str, Tensor]) -> None:
        """Freeze the policy of an earlier `state_tensors` as the reference."""
        now = {key: value.clone() for key, value in self.state_tensors().items()}
        self.load_state_tensors(state)
        self.keep_reference()
        self.load_state_tensors(now)

    def logprobs(self, pack: Pack) -> tuple[Tensor, Tensor]:
        """logprobs, entropy [M] of a pack's entries under the current weights."""
        return self._forward(self.causal_lm, self._inputs(pack))[:2]

    def appraise(self, batch: Sequence[Scored], microbatch_tokens: int) -> None:
        """Write what the critic thinks before each learned token, as the trajectories' `values`."""
        for scored, tokens in self._look(batch, microbatch_tokens):
            scored.values = [value for _, value in tokens]

    def recompute(self, batch: Sequence[Scored], microbatch_tokens: int) -> None:
        """Write the logprob of each learned token under the present weights, as the trajectories' `proximal`."""
        for scored, tokens in self._look(batch, microbatch_tokens):
            scored.proximal = [logprob for logprob, _ in tokens]

    @torch.no_grad()
    def _look(
        self, batch: Sequence[Scored], microbatch_tokens: int
    ) -> list[tuple[Scored, list[tuple[float, float]]]]:
        """The logprob and the value of each learned token, by trajectory; values are 0 without a critic."""
        found: dict[float, tuple[float, float]] = {}
        kept, number = [scored.values for scored in batch], 0
        for scored in batch:  # each token goes by its number, since layouts put them in any order
            scored.values = [float(number + i) for i in range(scored.length)]
            number += scored.length
        for pack in self.layout.packs(batch, [1.0] * len(batch), microbatch_tokens):
            logprobs, _, values = self._forward(self.causal_lm, self._inputs(pack))
            told = torch.zeros_like(logprobs) if values is None else values
            rows = zip(logprobs.tolist(), told.tolist(), strict=True)
            found |= zip((entry.value for entry in pack.entries), rows, strict=True)
        seen = [(scored, [found[value] for value in scored.values or ()]) for scored in batch]
        for scored, values_before in zip(batch, kept, strict=True):
            scored.values = values_before
        return seen

    def update(
        self,
        batch: Sequence[Scored],
        weights: Sequence[float],
        losses: Sequence[LossTerm],
        *,
        lr: float,
        microbatch_tokens: int,
    ) -> dict[str, float]:
        """One optimiser step on the weighted sum of the losses. `weights`: see `reduce.py`, global over the batch.

        A step whose gradient is not finite is skipped and counted. Returns metrics, means over trained tokens;
        computed_tokens is without padding.
        """
        self.model.train()  # the engine samples in evaluation mode, where gradient checkpointing is off
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
        tokens = computed = 0
        for pack in self.layout.packs(batch, weights, microbatch_tokens):
            inputs = self._inputs(pack)
            loss, measured = self._loss(inputs, losses)
            loss.backward()  # type: ignore[no-untyped-call]
            sums["loss"] += loss.detach().double().cpu()
            for name, values in measured.items():
                sums[name] += values.double().sum().cpu()
            tokens += len(inputs.entries)
            computed += pack.num_tokens
        metrics = {n: float(v) if n == "loss" else float(v) / max(tokens, 1) for n, v in sums.items()}
        metrics |= {"grad_norm": self._step(lr), "trained_tokens": tokens, "computed_tokens": computed, "lr": lr}
        return metrics

    def _loss(self, inputs: Inputs, losses: Sequence[LossTerm]) -> tuple[Tensor, dict[str, Tensor]]:
        logprobs, entropy, values = self._forward(self.causal_lm, inputs)
        reference = None
        losses = [term for term in losses if term.coef]
        if any(term.needs_reference for term in losses):
            with torch.no_grad():
                reference = self._forward(self.reference, inputs)[0]
        critic = (values, inputs.old_values, inputs.goals)
        batch = TokenBatch(logprobs, entropy, inputs.old_logprobs, inputs.advantages, reference, *critic)
        loss = torch.zeros((), device=self.device)
        measured = {"entropy": entropy.detach()}
        for term in losses:
            loss = loss + term.coef * (term(batch) * inputs.weights).sum()
            measured |= term.metrics(batch)
        return loss, measured

    def _forward(self, model: Any, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probabilities, entropies and the critic's values, of the entries."""
        decoder = model.get_decoder()
        hidden = decoder(input_ids=inputs.ids, use_cache=False, **inputs.context).last_hidden_state.flatten(0, 1)
        hidden = hidden[inputs.previous]
        logprobs, entropy = token_stats(model.get_output_embeddings(), hidden, inputs.targets)
        values = None
        if self.critic is not None:
            values = self.critic(hidden.to(self.critic.weight.dtype))[:, 0][inputs.entries]
        return logprobs[inputs.entries], entropy[inputs.entries], values

    def _inputs(self, pack: Pack) -> Inputs:
        dtype = torch.float64 if next(iter(self.masters.values())).dtype == torch.float64 else torch.float32
        return self.layout.inputs(pack, dtype)

    def _step(self, lr: float) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.max_grad_norm))
        narrow = [(p, self.masters[n]) for n, p in self.parameters.items() if self.masters[n] is not p]
        if math.isfinite(norm):
            for parameter, master in narrow:
                master.grad = None if parameter.grad is None else parameter.grad.float()
            self.optimizer.step(lr)
            with torch.no_grad():
                for parameter, master in narrow:
                    parameter.copy_(master)
        else:
            self.skipped += 1
        for weight in (*self.parameters.values(), *self.masters.values()):
            weight.grad = None
        return norm

    def state_tensors(self) -> dict[str, Tensor]:
        """The trained weights at full precision and the optimiser's state, by `kind|parameter`."""
        weights = {f"weight|{name}": master.detach() for name, master in self.masters.items()}
        return weights | self.optimizer.state_tensors()

    def load_state_tensors(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` gave."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.masters[name].copy_(state[f"weight|{name}"])
                parameter.copy_(self.masters[name])
        self.optimizer.load_state_tensors(state)
