"""agentgym.trainers.losses: one component a file."""
