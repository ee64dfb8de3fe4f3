"""Runs one stage of a recipe file on given episodes and given probability ratios, as a trainer would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pytest
import torch

from agentgym.config import build
from agentgym.services import Services
from agentgym.trainers.base import Scored, TokenBatch
from agentgym.trainers.reduce import token_weights
from agentgym.types import Group, Outcome, Task, Tokens, Turn

RECIPES = files("agentgym.trainers.recipes")


@dataclass
class Episode:
    """One trajectory. actions, observations: lengths in tokens; the prompt has 7. texts, infos: one per turn;
    text is that of each turn without."""

    reward: float = 0.0
    actions: Sequence[int] = (1,)
    observations: Sequence[int] = ()
    text: str = ""
    success: bool = False
    texts: Sequence[str] = ()
    infos: Sequence[Mapping[str, Any]] = ()


def make_group(name: str, episodes: Sequence[Episode], info: Mapping[str, Any]) -> Group:
    group = Group(name, Task("task", "prompt", "answer", info))
    for episode in episodes:
        for i, (before, length) in enumerate(zip((7, *episode.observations), episode.actions, strict=True)):
            parent = len(group.turns) - 1 if i else None
            text = episode.texts[i] if episode.texts else episode.text
            group.turns.append(Turn(parent, Tokens((0,) * before), Tokens((1,) * length), text=text))
            group.turns[-1].info = dict(episode.infos[i]) if episode.infos else {}
        last = group.turns[-1]
        last.reward, last.outcome = episode.reward, Outcome.DONE
        last.info = {"success": episode.success, "tool_calls": len(episode.actions) - 1} | last.info
    return group


class Stage:
    """A stage of a recipe file, its parts built by name."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table
        self.signals = [build("signal", spec) for spec in table.get("signals", [])]
        self.credit = [build("credit", spec) for spec in table.get("credit", [])]
        self.losses = [build("loss", spec) for spec in table["losses"]]
        self.sampler = build("sampler", table["sampler"])

    async def score(self, *groups: Sequence[Episode], info: Mapping[str, Any] | None = None) -> list[Scored]:
        """Signals, then credit, over a batch of groups. info: of their task."""
        batch: list[Scored] = []
        for number, episodes in enumerate(groups):
            group = make_group(f"group-{number}", episodes, info or {})
            for signal in self.signals:
                await signal(group, Services())
            batch += [Scored(group, leaf) for leaf in group.leaves()]
        for step in self.credit:
            batch = step(batch)
        return batch

    def loss(
        self,
        advantages: Sequence[float],
        ratios: Sequence[Sequence[float]],
        ref_log_ratios: Sequence[Sequence[float]] | None = None,
    ) -> float:
        """The stage's loss: one row a trajectory, one entry a token. The old logprob of every token is -2."""
        flat = torch.tensor([r for row in ratios for r in row], dtype=torch.float64)
        old = torch.full_like(flat, -2.0)
        logprobs = old + flat.log()
        ref = None
        if ref_log_ratios is not None:
            ref = logprobs - torch.tensor([d for row in ref_log_ratios for d in row], dtype=torch.float64)
        per_token = [a for a, row in zip(advantages, ratios, strict=True) for _ in row]
        tokens = TokenBatch(logprobs, torch.zeros_like(flat), old, flat.new_tensor(per_token), ref)
        lengths = [len(row) for row in ratios]
        weights = token_weights(lengths, [1.0] * len(ratios), self.table["reduction"])
        spread = flat.new_tensor([w for w, row in zip(weights, ratios, strict=True) for _ in row])
        return sum(float(term.coef * (spread * term(tokens)).sum()) for term in self.losses)


@pytest.fixture
def read_recipe() -> Callable[[str], dict[str, Any]]:
    import tomllib

    return lambda name: tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))


@pytest.fixture
def stage(read_recipe: Callable[[str], dict[str, Any]]) -> Callable[[str, str], Stage]:
    def find(recipe: str, name: str) -> Stage:
        return next(Stage(table) for table in read_recipe(recipe)["stages"] if table["name"] == name)

    return find


@pytest.fixture
def episode() -> type[Episode]:
    return Episode
