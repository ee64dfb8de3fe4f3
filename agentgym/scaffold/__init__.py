"""What `agentgym init` writes: a folder of templates for each kind of plugin."""
