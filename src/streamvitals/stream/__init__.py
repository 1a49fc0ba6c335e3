"""The life and the end of one stream, as pure code: no I/O, no SDK; the clock is a parameter."""
