"""Recording rules on whether the provider refuses the key, the model, or whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator

from .. import names
from .chance import beyond_chance
from .failing import MANY
from .language import FAST, MID, RATE_WINDOWS, SERVICE, SHORT
from .promql import REFUSED as REFUSED_ERRORS
from .promql import REJECTED, increase, matching, ratio, total
from .rule import Record
from .series import ASKED, REFUSED, REFUSED_RATIO, STREAMS, WHOLE

# Where so many operations are usual in a quarter of an hour some must come, or they are all refused.
ASKED_USUALLY = 4
# So large a share of what is asked is refused.
REFUSING = 0.25


def rejected(window: str) -> str:
    """Count streams that were refused as the caller's mistake, whatever it was."""
    return total(matching(STREAMS[window], REJECTED), SERVICE)


def refusing() -> Iterator[Record]:
    """Record the share of what is asked that is refused, where it is the key, the model, or nearly everything."""
    for window in RATE_WINDOWS:
        none = f"0 * {total(STREAMS[window], SERVICE)}"
        refused = increase(names.STREAM_ERRORS, SERVICE, over=window, where=(REFUSED_ERRORS,))
        yield Record(REFUSED[window], f"{refused} or {none}")
        yield Record(ASKED[window], f"""
        {WHOLE.operations[window]}
          + ({rejected(window)} or {none})""")
    yield Record(REFUSED_RATIO[SHORT], ratio(REFUSED[SHORT], ASKED[SHORT]))
    # Bad requests that come on top of what is asked are somebody's; those that come instead of it are everybody's.
    usual = f"avg_over_time({WHOLE.operations[MID]}[$hour] offset $half_hour)"
    yield Record("streamvitals:refusing:service", f"""
        (
          {REFUSED[FAST]} / {ASKED[FAST]} > {REFUSING}
            and {beyond_chance(REFUSED[MID], ASKED[MID])}
            unless (
              {ASKED[SHORT]} >= {MANY}
                unless min_over_time({REFUSED_RATIO[SHORT]}[$lasting]) > {REFUSING}
            )
        ) or (
          {rejected(MID)} / {ASKED[MID]} > 0.9
            and {rejected(MID)} > 10
            and {WHOLE.operations[MID]} < 0.2 * {usual}
            and {usual} >= {ASKED_USUALLY}
        )""")
