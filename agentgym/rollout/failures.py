"""What an error says about the episode that it ended."""

from __future__ import annotations

from agentgym.errors import EngineError, JudgeError
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
