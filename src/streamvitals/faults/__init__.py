"""The fault-injecting OpenAI-compatible server: it breaks streams as it is told."""
