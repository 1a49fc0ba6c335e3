"""Recording rules on replicas that fail far more often than the others."""

from __future__ import annotations

from collections.abc import Iterator

from .. import names
from .chance import beyond_chance
from .language import MID, SERVICE
from .promql import COUNTED, FAILED, Recorded, increase
from .rule import Record

REPLICA_FAILED = Recorded("streamvitals:replica_failed:increase")
REPLICA_OPERATIONS = Recorded("streamvitals:replica_operations:increase")


def replicas() -> Iterator[Record]:
    """Record the share of failed streams of replicas that fail where the others do not."""
    failed, operations = REPLICA_FAILED[MID], REPLICA_OPERATIONS[MID]
    for count, where in ((failed, FAILED), (operations, COUNTED)):
        yield Record(count, increase(names.STREAMS, SERVICE, "instance", over=MID, where=(where,)))
    rest_failed, rest = (
        f"(sum by ($service) ({count}) - on ($service) group_right () {count})" for count in (failed, operations)
    )
    yield Record("streamvitals:replica:failing", f"""
        {failed} / {operations} > $spike
          and {beyond_chance(failed, operations)}
          and {failed} / {operations} > 4 * {rest_failed} / ({rest} > 0)""")
