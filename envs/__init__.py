"""agentgym.envs: see `agentgym list`."""

if __name__ != "agentgym.envs":
    raise ImportError("import agentgym.envs instead of envs")
