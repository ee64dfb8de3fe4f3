"""agentgym.checks: what a contract promises, one check a function."""
