"""agentgym.models: the policy as a Hugging Face module and tokenizer, and the built-in `nano`."""
