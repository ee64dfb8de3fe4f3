"""Instructions that compete: who is drawn how often, who has shown what it is worth, who goes."""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any


@dataclass(slots=True)
class Instruction:
    """id: its own in the run. weight: what its groups earn beyond others. groups: how many have told."""

    id: str
    text: str
    weight: float = 0.0
    groups: int = 0


class Population:
    """Never empty. gone: texts that were pruned, the latest last, so that nobody proposes them again."""

    GONE = 256

    def __init__(self, texts: list[str], *, tau: float, rate: float, trial: int) -> None:
        self.tau, self.rate, self.trial = tau, rate, trial
        self.members: list[Instruction] = []
        self.gone: list[str] = []
        self._born = 0
        for text in texts:
            self.add(text)

    def add(self, text: str) -> Instruction:
        """A new member, on trial."""
        self.members.append(Instruction(f"i{self._born}", text))
        self._born += 1
        return self.members[-1]

    def knows(self, text: str) -> bool:
        """Whether there is or was one that says the same."""
        return _plain(text) in {_plain(known) for known in (*self.gone, *(m.text for m in self.members))}

    def probabilities(self) -> list[float]:
        """Of being drawn, in the order of the members."""
        tried = [m.weight for m in self.members if m.groups >= self.trial]
        best = max(tried, default=0.0)
        weights = [m.weight if m.groups >= self.trial else best for m in self.members]
        shares = [math.exp((weight - max(weights)) / self.tau) for weight in weights]
        return [share / sum(shares) for share in shares]

    def draw(self, rng: random.Random) -> Instruction:
        return rng.choices(self.members, self.probabilities())[0]

    def credit(self, gains: dict[str, list[float]]) -> None:
        """Move weights towards what a step's groups earned beyond others: a list for each id that was drawn."""
        for member in self.members:
            if earned := gains.get(member.id):
                member.groups += len(earned)
                member.weight += max(self.rate, len(earned) / member.groups) * (fmean(earned) - member.weight)

    def prune(self, keep: int) -> list[Instruction]:
        """Lose the worst, never one on trial, until `keep` are left; returns who went."""
        tried = sorted((m for m in self.members if m.groups >= self.trial), key=lambda m: m.weight)
        lost = tried[: max(0, min(len(self.members) - keep, len(tried) - 1))]
        self.members = [m for m in self.members if m not in lost]
        self.gone = [*self.gone, *(m.text for m in lost)][-self.GONE :]
        return lost

    def state_dict(self) -> dict[str, Any]:
        return {"members": [asdict(m) for m in self.members], "gone": self.gone, "born": self._born}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.members = [Instruction(**member) for member in state["members"]]
        self.gone, self._born = list(state["gone"]), state["born"]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
