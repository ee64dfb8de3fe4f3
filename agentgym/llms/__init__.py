"""agentgym.llms: one component a file."""
