"""What the policy thought of the results it was shown, against what they were worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from agentgym.ranges import within
from agentgym.trainers.signals.episodes import valid_episodes
from agentgym.trainers.signals.recall import recall_gains
from agentgym.types import Group, Turn

if TYPE_CHECKING:
    from agentgym.services import Services


@dataclass(frozen=True)
class Judgements:
    """ReSeek's process rewards (arXiv 2510.00568), from what the environment reports of a turn that judged a
    result: info["judged"] ("yes" or "no") and info["useful"], the truth.

    "judge_correctness": the sum of `gamma^(t - 1) r_t` over the episode's judgements t = 1, 2, ..., with r `agree`
    where the policy is right, `accept_bad` for a useless result that it accepts, `reject_good` for a useful one
    that it does not. "judge_utility": the share of the task's gold passages that came first in results it
    accepted; those shown between two judgements belong to the second, and those that were never judged do not
    count. For the record, where there was something to judge: "judge_accuracy", the share it was right about;
    "judge_sensitivity" and "judge_specificity", the same among the useful and among the useless results. The mean
    of these two is the balanced accuracy.
    """

    agree: float = 0.3
    accept_bad: float = -0.6
    reject_good: float = -0.3
    gamma: float = 1.0

    def __post_init__(self) -> None:
        within(self, 0, 1, "gamma")

    async def __call__(self, group: Group, services: Services) -> None:
        for turns in valid_episodes(group):
            judged = [turn for turn in turns if "judged" in turn.info]
            rewards = [self._reward(_accepts(turn), bool(turn.info["useful"])) for turn in judged]
            turns[-1].signals |= {
                "judge_correctness": sum(self.gamma**t * reward for t, reward in enumerate(rewards)),
                "judge_utility": _utility(turns),
                **_accuracies(judged),
            }

    def _reward(self, accepts: bool, useful: bool) -> float:
        if accepts == useful:
            return self.agree
        return self.accept_bad if accepts else self.reject_good


def _accepts(turn: Turn) -> bool:
    return bool(turn.info["judged"] == "yes")


def _utility(turns: list[Turn]) -> float:
    accepted = waiting = 0.0
    for turn, gain in zip(turns, recall_gains(turns), strict=True):
        if "judged" in turn.info:  # what the turns before it were shown
            accepted += waiting if _accepts(turn) else 0.0
            waiting = 0.0
        waiting += gain
    return accepted


def _accuracies(judged: Sequence[Turn]) -> dict[str, float]:
    """Shares of right judgements; none where nothing was judged."""
    right = [(bool(turn.info["useful"]), _accepts(turn) == bool(turn.info["useful"])) for turn in judged]
    kinds = {
        "judge_accuracy": [hit for _, hit in right],
        "judge_sensitivity": [hit for useful, hit in right if useful],
        "judge_specificity": [hit for useful, hit in right if not useful],
    }
    return {name: fmean(hits) for name, hits in kinds.items() if hits}
