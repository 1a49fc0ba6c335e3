"""What observes one process: the runtime and its wiring. It runs in the app."""
