"""The learner: packs through the model, losses into gradients, one optimiser."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from agentgym.parallel import ALONE, Peers
from agentgym.trainers.base import LossTerm, Packing, Scored, TokenBatch
from agentgym.trainers.flat_rows import FlatRows
from agentgym.trainers.layout import Inputs, Layout
from agentgym.trainers.optimizer import Optimizer, OptimizerName
from agentgym.trainers.pack import Pack
from agentgym.trainers.replicated import Replicated
from agentgym.trainers.scorer import Scorer, new_critic
from agentgym.trainers.sharded import Sharded
from agentgym.trainers.shares import shares
from agentgym.trainers.spread import Spread, summed, together
from agentgym.trainers.token_stats import check_head
from agentgym.trainers.tree_rows import TreeRows

LAYOUTS: dict[Packing, Callable[[Any], Layout]] = {"tree": TreeRows, "flat": FlatRows}


class Learner:
    """Owns the trained parameters. The engine may share `model`; it must be told when a step was taken.

    peers: the processes of the run, each of which computes its share of a batch. shard: whether each keeps a part
    of the parameters. parameters: those that learn, by their names in `model`; whole: the same in `model` itself.
    """

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
        peers: Peers = ALONE,
        shard: bool = False,
    ) -> None:
        self.model = model
        self.causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
        check_head(self.causal_lm)
        self.layout = LAYOUTS[packing](self.causal_lm)
        self.device = next(model.parameters()).device
        self.max_grad_norm = max_grad_norm
        self.spread: Spread = Sharded(peers) if shard and peers.size > 1 else Replicated(peers)
        self.critic = new_critic(self.causal_lm) if critic else None
        home = Scorer(self.causal_lm, self.critic)
        self.scorer = self.spread.trained(home)
        names = {id(p): n for n, p in model.named_parameters()}
        names |= {id(p): n for n, p in home.named_parameters() if n.startswith("critic.")}
        pairs = zip(home.parameters(), self.scorer.parameters(), strict=True)
        both = {names[id(p)]: (p, own) for p, own in pairs if p.requires_grad}
        self.whole = {name: p for name, (p, _) in both.items()}
        self.parameters = {name: own for name, (_, own) in both.items()}
        self.masters = self.spread.masters(self.parameters)
        self.optimizer = Optimizer(optimizer, self.masters, weight_decay=weight_decay, beta2=beta2)
        self.reference: Scorer | None = None
        self.skipped = 0

    def keep_reference(self) -> None:
        """Freeze a copy of the current policy for the losses that need one."""
        self.reference = self.spread.frozen(Scorer(self.causal_lm))

    @torch.no_grad()
    def restore_reference(self, state: dict[str, Tensor]) -> None:
        """Freeze the policy of an earlier `state_tensors` as the reference."""
        self.keep_reference()
        assert self.reference is not None
        names = {id(p): name for name, p in self.whole.items()}
        for now, frozen in zip(self.causal_lm.parameters(), self.reference.parameters(), strict=True):
            if name := names.get(id(now)):
                self.spread.put(frozen, state[f"weight|{name}"])

    def logprobs(self, pack: Pack) -> tuple[Tensor, Tensor]:
        """logprobs, entropy [M] of a pack's entries under the current weights."""
        logprobs, entropy, _ = self.scorer(self._inputs(pack))
        return logprobs, entropy

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
        self.scorer.eval()  # as the engine samples: adapters may have dropout
        found: dict[int, tuple[float, float]] = {}
        kept, number = [scored.values for scored in batch], 0
        for scored in batch:  # each token goes by its number, since layouts put them in any order
            scored.values = [float(number + i) for i in range(scored.length)]
            number += scored.length
        for pack in self._packs(batch, [1.0] * len(batch), microbatch_tokens):
            logprobs, _, values = self.scorer(self._inputs(pack))
            told = torch.zeros_like(logprobs) if values is None else values
            rows = zip(logprobs.tolist(), told.tolist(), strict=True)
            found |= zip((int(entry.value) for entry in pack.entries), rows, strict=True)
        found = together(self.spread.peers, found)
        seen = [(scored, [found[int(value)] for value in scored.values or ()]) for scored in batch]
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
        self.scorer.train()  # the engine samples in evaluation mode, where gradient checkpointing is off
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
        for pack in self._packs(batch, weights, microbatch_tokens):
            inputs = self._inputs(pack)
            loss, measured = self._loss(inputs, losses)
            loss.backward()  # type: ignore[no-untyped-call]
            if not pack.entries[0].weight:
                continue
            sums["loss"] += loss.detach().double().cpu()
            for name, values in measured.items():
                sums[name] += values.double().sum().cpu()
            sums["trained_tokens"] += len(inputs.entries)
            sums["computed_tokens"] += pack.num_tokens
        numbers = summed(self.spread.peers, {name: float(value) for name, value in sums.items()})
        tokens, computed = (int(numbers.pop(name, 0)) for name in ("trained_tokens", "computed_tokens"))
        metrics = {name: value if name == "loss" else value / max(tokens, 1) for name, value in numbers.items()}
        return metrics | {
            "grad_norm": self._step(lr),
            "trained_tokens": tokens,
            "computed_tokens": computed,
            "lr": lr,
        }

    def seed(self, number: int) -> None:
        """Of what an update leaves to chance: adapters may have dropout."""
        torch.manual_seed(number)

    def give_back(self) -> None:
        """What torch keeps of a GPU's memory for its next use goes back, for an engine in a process of its own."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _packs(self, batch: Sequence[Scored], weights: Sequence[float], microbatch_tokens: int) -> Iterator[Pack]:
        """Those of this process; where all must take as many steps, its last are made up, of weight 0."""
        peers = self.spread.peers
        own = shares(batch, weights, peers.size)[peers.rank]
        packs = self.layout.packs([scored for scored, _ in own], [weight for _, weight in own], microbatch_tokens)
        while self.spread.goes_on((pack := next(packs, None)) is not None):
            yield pack or self._made_up(batch, weights, microbatch_tokens)

    def _made_up(self, batch: Sequence[Scored], weights: Sequence[float], microbatch_tokens: int) -> Pack:
        some = min((s for s, w in zip(batch, weights, strict=True) if w and s.length), key=lambda s: s.length)
        pack = next(self.layout.packs([some], [1.0], microbatch_tokens))
        for entry in pack.entries:
            entry.weight = 0.0
        return pack

    def _loss(self, inputs: Inputs, losses: Sequence[LossTerm]) -> tuple[Tensor, dict[str, Tensor]]:
        logprobs, entropy, values = self.scorer(inputs)
        reference = None
        losses = [term for term in losses if term.coef]
        if any(term.needs_reference for term in losses):
            assert self.reference is not None, "keep_reference comes first"
            with torch.no_grad():
                reference = self.reference(inputs)[0]
        critic = (values, inputs.old_values, inputs.goals)
        batch = TokenBatch(logprobs, entropy, inputs.old_logprobs, inputs.advantages, reference, *critic)
        loss = torch.zeros((), device=self.device)
        measured = {"entropy": entropy.detach()}
        for term in losses:
            loss = loss + term.coef * (term(batch) * inputs.weights).sum()
            measured |= term.metrics(batch)
        return loss, measured

    def _inputs(self, pack: Pack) -> Inputs:
        dtype = torch.float64 if next(iter(self.masters.values())).dtype == torch.float64 else torch.float32
        return self.layout.inputs(pack, dtype)

    def _step(self, lr: float) -> float:
        norm = self.spread.clip(self.parameters, self.masters, self.max_grad_norm)
        if math.isfinite(norm):
            self.optimizer.step(lr)
            self._publish()
        else:
            self.skipped += 1
        for weight in (*self.parameters.values(), *self.masters.values()):
            weight.grad = None
        return norm

    @torch.no_grad()
    def _publish(self) -> None:
        self.spread.publish(self.parameters, self.masters, self.whole)

    def state_tensors(self) -> dict[str, Tensor]:
        """The trained weights at full precision and the optimiser's state, by `kind|parameter`; the same for any
        number of processes. Complete on the first of them, and asked of all."""
        parts = {f"weight|{name}": master for name, master in self.masters.items()}
        found: dict[str, Tensor] = {}
        for key, part in (parts | self.optimizer.state_tensors()).items():
            full = self.spread.full(self.parameters[key.partition("|")[2]], part) if part.ndim else part
            if full is not None:
                found[key] = full.detach()
        return found

    @torch.no_grad()
    def load_state_tensors(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` gave."""
        parts = {
            key: self.spread.part(self.parameters[name], full) if full.ndim else full
            for key, full in state.items()
            if (name := key.partition("|")[2]) in self.parameters
        }
        for name, master in self.masters.items():
            master.copy_(parts[f"weight|{name}"])
        self._publish()
        self.optimizer.load_state_tensors(parts)
