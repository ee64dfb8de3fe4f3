"""What becomes of conversations through a model's chat template."""

from __future__ import annotations

from agentgym.checks.harness import CheckResult
from agentgym.models.append_only import inspect
from agentgym.models.load import load_tokenizer


async def check_model(name: str) -> list[CheckResult]:
    """A row for each kind of conversation. Only the tokenizer is loaded."""
    return [
        CheckResult(found.case, found.verdict != "refused", ": ".join(filter(None, (found.verdict, found.reason))))
        for found in inspect(load_tokenizer(name))
    ]
