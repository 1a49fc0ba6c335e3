"""What chance explains, for one request an hour as for a hundred a second: conditions as PromQL."""

from __future__ import annotations

# So many failures prove nothing yet; more than these, what is expected, and four standard deviations of it do.
FEW, SIGMAS = 1.5, 4


def proven(failed: str, operations: str, expected: str = "$expected") -> str:
    """More failures than chance explains where this share of the operations is expected to fail."""
    mean = f"{expected} * {operations}"
    return f"{failed} > {FEW} + {mean} + {SIGMAS} * sqrt({mean})"


def beyond(failed: str, operations: str, share: str, sigmas: int) -> str:
    """More failures than so many standard deviations above those that this share brings."""
    return f"{failed} > {share} * {operations} + {sigmas} * sqrt({share} * {operations})"


def lowest(of: str, window: str, asked: str) -> str:
    """The lowest value, of what there was at all times at which ``asked`` was there: one sample is not lasting."""
    return (
        f"(min_over_time({of}[{window}]) and count_over_time({of}[{window}]) >= count_over_time({asked}[{window}]))"
    )
