"""agentgym.sandboxes: see `agentgym list`."""

if __name__ != "agentgym.sandboxes":
    raise ImportError("import agentgym.sandboxes instead of sandboxes")
