"""Where nothing ends well: no stream, nor what was asked instead of one. Then users are hurt, whatever is tried again.

What the application tries again without end never fails for good, so that no count of operations shows it.
"""

from __future__ import annotations

from collections.abc import Iterator

from .chance import proven
from .rule import Record

# Of the streams that page, so large a part at most ended within the shortest window: the rest is no blip.
AT_ONCE = 0.6
# So many recoveries for each failed stream of a model at one server show that another one has taken over.
TAKEN_OVER = 0.2

_BY = {"": "$service", "model_": "$service, $model", "server_": "$service, $model, $server"}


def none_well(window: str) -> Iterator[Record]:
    """How many streams failed in each service, model, and model at a server, where none ended well."""
    w = f"${{{window}}}"
    streams = f"streamvitals:streams:increase{w}"
    recovered = f'(increase($recoveries{{$source="app"}}[{w}]))'
    for scope, by in _BY.items():
        failed, well = (f'sum by ({by}) ({streams}{{$outcome=~"{of}"}})' for of in ("$failed_outcomes",
                                                                                  "$well_outcomes"))
        # No stream of it is among these: what was asked without streaming, or of another server.
        otherwise = f"sum by ({by}) {recovered} > 0"
        if scope == "server_":
            otherwise = (
                f"{failed} * {TAKEN_OVER}\n"
                f"            < on ($service, $model) group_left () sum by ($service, $model) {recovered}"
            )
        yield Record(
            f"streamvitals:{scope}none_well:increase{w}",
            f"""
        {failed} > 0
          unless {well} > 0
          unless {otherwise}""",
        )


def condition(scope: str, usual: str) -> str:
    """Whether that pages: enough streams, by chance's measure, and not all of them at once. The value is the share."""
    failed = f"streamvitals:{scope}none_well:increase"
    return f"""(
          {failed}$fast / {failed}$fast
            and {proven(f"{failed}$fast", f"{failed}$fast", usual)}
            and max_over_time({failed}$short[$fast]) <= {AT_ONCE} * {failed}$fast
        )"""


def failing_servers() -> Iterator[Record]:
    """Models of which nothing ends well at one server, though it may at others."""
    yield Record("streamvitals:failing:server", condition("server_", "$low"))
