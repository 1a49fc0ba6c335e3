"""The application's own retries: which requests are tried again, and what becomes of them."""
