"""agentgym.trainers.credit: one component a file."""
