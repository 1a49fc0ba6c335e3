"""The demonstration: break streams in every way we know, and compare what was reported."""
