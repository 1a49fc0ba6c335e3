"""The patches on the openai SDK. No other folder knows the SDK."""
