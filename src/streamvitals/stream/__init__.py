"""The pure package: the life and the end of one stream. No I/O, no SDK; the clock is handed in."""
