"""Recording rules on failures that come and go: a bad minute wakes nobody, bad minutes all evening do."""

from __future__ import annotations

from collections.abc import Iterator

from .chance import beyond_chance, beyond_share
from .language import FAST, HOUR, SHORT
from .rule import Record
from .series import Scope

# So many times in an hour and a half is no accident.
OFTEN = 3
SIGMAS = 4


def flapping(scope: Scope) -> Iterator[Record]:
    """Record when failures begin anew, and whether they have done so again and again.

    That is so from the third time on, and until an hour has passed without any.
    """
    failed, operations = scope.failed[SHORT], scope.operations[SHORT]
    yield Record(scope.bad, f"""
        {failed} / {operations} > 2 * $spike
          and {beyond_chance(failed, operations, scope.usual)}
          and {beyond_share(failed, operations, '$page_share', SIGMAS)}""")
    yield Record(scope.begun_anew, f"{scope.bad} unless max_over_time({scope.bad}[{FAST}] offset $beat)")
    yield Record(scope.often, f"count_over_time({scope.begun_anew}[$hour_and_half]) >= {OFTEN}")
    yield Record(scope.flapping, f"""
        {scope.often}
          or max_over_time({scope.often}[$past]) and max_over_time({scope.bad}[{HOUR}])""")
