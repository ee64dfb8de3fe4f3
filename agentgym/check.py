"""The contracts as runnable checks: `agentgym check env=retool`, `sandbox=local`, `tool=python`, `engine=torch`,
`model=PATH`; and attacks."""

from agentgym.checks.attacks.suite import attack_sandbox
from agentgym.checks.engine import check_engine
from agentgym.checks.env import check_env
from agentgym.checks.harness import CheckResult
from agentgym.checks.model import check_model
from agentgym.checks.sandbox import check_sandbox
from agentgym.checks.tool import check_tool

__all__ = [
    "CheckResult",
    "attack_sandbox",
    "check_engine",
    "check_env",
    "check_model",
    "check_sandbox",
    "check_tool",
]
