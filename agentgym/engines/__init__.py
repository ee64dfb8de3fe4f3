"""agentgym.engines."""
