"""agentgym.api: the client of OpenAI-like servers that LLMs and engines share."""
