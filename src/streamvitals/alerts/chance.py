"""Conditions on how many failures chance explains, for one request an hour as for a hundred a second."""

from __future__ import annotations

# So many failures prove nothing yet; more than these, what is expected, and four standard deviations of it do.
FEW, SIGMAS = 1.5, 4


def beyond_chance(failed: str, operations: str, expected: str = "$expected") -> str:
    """Whether more fail than chance explains, where this share of the operations is expected to fail."""
    mean = f"{expected} * {operations}"
    return f"{failed} > {FEW} + {mean} + {SIGMAS} * sqrt({mean})"


def beyond_share(failed: str, operations: str, share: str, sigmas: int) -> str:
    """Whether more fail than this share of the operations and so many standard deviations of that."""
    return f"{failed} > {share} * {operations} + {sigmas} * sqrt({share} * {operations})"


def share_beyond(part: str, whole: str, more_than: str) -> str:
    """Whether a share is too large, and larger than chance makes it."""
    return f"""\
{part} / ({whole} > 0) > {more_than}
  and {beyond_chance(part, whole)}"""
