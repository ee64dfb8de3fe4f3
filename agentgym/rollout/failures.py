"""What an error says about the episode that it ended."""

from __future__ import annotations

from collections import Counter

from agentgym.errors import EngineError, JudgeError, TooManyErrors
from agentgym.types import Outcome


def classify(error: Exception) -> Outcome:
    """The outcome an exception stands for, by the boundary it crossed."""
    if isinstance(error, EngineError):
        return Outcome.ENGINE_ERROR
    if isinstance(error, JudgeError):
        return Outcome.JUDGE_ERROR
    if isinstance(error, TimeoutError):
        return Outcome.TOOL_TIMEOUT
    return Outcome.ENV_ERROR


def check_share(outcomes: Counter[Outcome], allowed: float, first: str) -> None:
    """Raises TooManyErrors when more than this share of the episodes has failed. first: the first one's error."""
    total = outcomes.total() - outcomes[Outcome.CANCELLED]
    failed = sum(n for outcome, n in outcomes.items() if outcome.is_failure)
    if failed > allowed * total:
        raise TooManyErrors(
            f"{failed} of {total} episodes failed (allowed: {allowed:.0%}, max_error_frac). The first: {first}"
        )
