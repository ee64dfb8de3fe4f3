"""agentgym.trainers.samplers: one component a file."""
