"""agentgym.envs.tasks: one source of tasks a file."""
