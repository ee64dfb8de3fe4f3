"""agentgym.trainers: see `agentgym list`."""

if __name__ != "agentgym.trainers":
    raise ImportError("import agentgym.trainers instead of trainers")
