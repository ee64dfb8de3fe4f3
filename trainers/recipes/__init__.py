"""agentgym.trainers.recipes: one component a file."""
