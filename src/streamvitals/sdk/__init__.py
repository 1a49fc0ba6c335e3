"""The only wing that knows the openai SDK."""
