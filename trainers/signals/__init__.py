"""agentgym.trainers.signals: one component a file."""
