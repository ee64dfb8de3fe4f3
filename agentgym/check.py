"""The contracts as runnable checks: `agentgym check env=retool`, `agentgym check sandbox=local`; and attacks."""

from agentgym.checks.attacks.suite import attack_sandbox
from agentgym.checks.env import check_env
from agentgym.checks.harness import CheckResult
from agentgym.checks.sandbox import check_sandbox

__all__ = ["CheckResult", "attack_sandbox", "check_env", "check_sandbox"]
