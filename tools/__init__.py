"""agentgym.tools: see `agentgym list`."""

if __name__ != "agentgym.tools":
    raise ImportError("import agentgym.tools instead of tools")
