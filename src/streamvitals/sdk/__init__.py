"""The only package that knows the openai SDK."""
