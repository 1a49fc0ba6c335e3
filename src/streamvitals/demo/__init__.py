"""The fault-injecting OpenAI-compatible server and the demonstrations built on it."""
