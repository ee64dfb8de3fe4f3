"""agentgym.rollout: episodes from an environment and an engine. One strategy a file."""
