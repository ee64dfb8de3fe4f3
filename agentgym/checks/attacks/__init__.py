"""agentgym.checks.attacks: attacks on a sandbox, one class of them a file."""
