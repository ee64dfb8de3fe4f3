"""The contracts as runnable checks: `agentgym check env=retool`, `agentgym check sandbox=local`."""

from agentgym.checks.env import check_env
from agentgym.checks.harness import CheckResult
from agentgym.checks.sandbox import check_sandbox

__all__ = ["CheckResult", "check_env", "check_sandbox"]
