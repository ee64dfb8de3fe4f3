"""An episode as text: who said what, in order. What the console prints and the report shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from agentgym.config import Spec, name_of
from agentgym.env import forgets
from agentgym.types import Turn

Decode = Callable[[Sequence[int]], str]
Kind = Literal["prompt", "policy", "tool", "dropped"]
OF_THE_PLAYER = ("reward", "success", "tool_calls", "completion_length", "frac_reward_zero_std")
"""Metrics that tell of whoever played the episodes, which is not always the policy."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of text. kind: where it comes from; tool stands for all that the environment says after the
    prompt, and dropped for what of it was taken back once the policy had spoken. speaker: the kind, except that
    a demonstrator and other agents go by their own names."""

    kind: Kind
    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What became of an episode. Token counts are of its own path: prompt, sampled, and shown by tools."""

    outcome: str
    success: bool
    reward: float
    tool_calls: int
    prompt_tokens: int
    sampled_tokens: int
    tool_tokens: int
    error: str

    def line(self) -> str:
        """All of it in one line."""
        calls = f"{self.tool_calls} tool call{'' if self.tool_calls == 1 else 's'}"
        tokens = f"tokens: {self.prompt_tokens} prompt, {self.sampled_tokens} sampled, {self.tool_tokens} tool"
        verdict = f"failed: {self.error}" if self.error else ("success" if self.success else "no success")
        return f"{verdict} · outcome {self.outcome} · reward {self.reward:.2f} · {calls} · {tokens}"


def is_demonstration(rollout: Spec) -> bool:
    """Whether a stage's episodes are played by the environment's scripted policy."""
    return name_of(rollout) == "demonstrations"


def passages(turns: Sequence[Turn], decode: Decode | None = None) -> list[Passage]:
    """The texts of a trajectory's turns. `decode` reads contexts that were recorded as ids only."""
    found: list[Passage] = []
    for turn in turns:
        shown = turn.observation or (decode(turn.context.ids) if decode else "")
        if shown:
            prompt = turn.parent is None or turn.recalled == ()
            kind: Kind = "prompt" if prompt else "dropped" if forgets(turn.info) else "tool"
            found.append(Passage(kind, kind, shown))
        if turn.text:
            found.append(Passage("policy", "demo" if turn.source == "demo" else turn.agent, turn.text))
    return found


def facts(turns: Sequence[Turn]) -> Facts:
    """What became of the trajectory made of `turns`, root to leaf."""
    last = turns[-1]
    return Facts(
        outcome=str(last.outcome or "unfinished"),
        success=bool(last.info.get("success", False)),
        reward=sum(turn.reward for turn in turns),
        tool_calls=int(last.info.get("tool_calls", 0)),
        prompt_tokens=len(turns[0].context),
        sampled_tokens=sum(len(turn.action) for turn in turns),
        tool_tokens=sum(len(turn.context) for turn in turns[1:]),
        error=str(last.info.get("error", "")),
    )
