"""Records in, telemetry out. Sinks know neither the SDK nor each other."""
