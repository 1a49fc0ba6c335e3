"""The application's own retries: who asked again, and what became of it."""
