"""Generalised advantage estimation: what each token did, as the critic sees it."""

from __future__ import annotations

from dataclasses import dataclass

from agentgym.errors import ConfigError
from agentgym.ranges import within
from agentgym.trainers.base import Scored


@dataclass(frozen=True)
class Gae:
    """`A_t = sum_l (gamma lam)^l delta_{t+l}` with `delta_t = r_t + gamma V_{t+1} - V_t` (arXiv 1506.02438), over
    the tokens that are learned from; the reward comes with the last of them, and nothing after it. The critic's
    goal is A_t + V_t. Comes after the steps that make the reward; needs a loss that trains the critic, such as
    `value`.
    """

    gamma: float = 1.0
    lam: float = 1.0

    def __post_init__(self) -> None:
        within(self, 0, 1, "gamma", "lam")

    def __call__(self, batch: list[Scored]) -> list[Scored]:
        for scored in batch:
            if scored.values is None:
                raise ConfigError("gae needs a critic: give the stage a loss that trains it, such as value")
            after, ahead, reward = 0.0, 0.0, scored.reward
            advantages = []
            for value in reversed(scored.values):
                ahead = reward + self.gamma * after - value + self.gamma * self.lam * ahead
                advantages.append(ahead)
                after, reward = value, 0.0
            scored.token_advantages = advantages[::-1]
            scored.goals = [a + v for a, v in zip(scored.token_advantages, scored.values, strict=True)]
        return batch
