"""The runtime that observes one process, and its wiring. It runs inside the app."""
