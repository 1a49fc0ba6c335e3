"""What a request takes that fails and is asked again, in calls: about a good stream's, whatever else has failed."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

import pytest

from streamvitals.testing import recorded

pytest.importorskip("openai.types.responses", reason="the bench is for an SDK that has Responses")


def calls(storm: Any, kind: str, tasks: int) -> float:
    """Of our functions, per request, once so much has failed that not each is recorded by itself."""
    storm._transport.kind = kind
    ours = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal ours
        ours += event == "call" and frame.f_globals.get("__name__", "").startswith("streamvitals.")

    asyncio.run(storm._tasks(tasks, 1 if kind == "good" else 3))
    sys.setprofile(note)
    try:
        asyncio.run(storm._tasks(tasks, 3))
    finally:
        sys.setprofile(None)
    return ours / (3 * tasks)


@pytest.mark.parametrize("kind", ["refused", "status", "cut"])
def test_a_failing_request_takes_what_a_good_stream_takes_however_many_fail(kind: str) -> None:
    from bench.canned import prebuilt
    from bench.storm import Storm

    with recorded(), prebuilt():
        storm = Storm()
        good = calls(storm, "good", 10)
        few, many = calls(storm, kind, 10), calls(storm, kind, 100)
    assert 0 < few < 2 * good
    assert many < 1.2 * few


def test_of_a_thousand_operations_that_fail_at_once_each_is_counted_once() -> None:
    from bench.canned import prebuilt
    from bench.storm import Storm

    with recorded() as records, prebuilt():
        storm = Storm()
        storm._transport.kind = "refused"
        asyncio.run(storm._tasks(1_000, 2))
    assert len(records) == 2_000
    assert len(records.retries) == 1_000, "each was tried again"
    assert [chain.event for chain in records.chains] == ["failed"] * 1_000, "and failed once for its user"
