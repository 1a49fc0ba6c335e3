"""The only room that knows the openai SDK."""
