"""The sinks: they get records and write telemetry, and know neither the SDK nor each other."""
