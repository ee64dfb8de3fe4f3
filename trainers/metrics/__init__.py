"""agentgym.trainers.metrics: one component a file."""
