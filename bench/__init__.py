"""What observing a stream costs, beside the bare SDK and the other instrumentations: ``python -m bench``."""
