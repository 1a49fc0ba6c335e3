"""Fixtures for pytest: a server that breaks streams, and the records of what a test streamed.

pytest loads this module at the start of every run in an environment with streamvitals, whether a test uses it or not.
So it imports nothing but pytest until a fixture is asked for: what a plugin imports is not measured by pytest-cov, and
makes every run slower.
"""

from __future__ import annotations

import pytest

# Not from `typing`, which pytest may not have imported yet.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .faults import ThreadedFaultServer
    from .testing import RecordList


@pytest.fixture(scope="session")
def _streamvitals_fault_server() -> Iterator[ThreadedFaultServer]:
    from .faults import ThreadedFaultServer

    with ThreadedFaultServer() as server:
        yield server


@pytest.fixture
def streamvitals_faults(_streamvitals_fault_server: ThreadedFaultServer) -> ThreadedFaultServer:
    """An OpenAI-compatible server that breaks streams as the test says: streamvitals_faults.play("reset", "ok").

    Its base_url is the same in all tests of a run; what it plays and its log begin anew in each.
    """
    _streamvitals_fault_server.reset()
    return _streamvitals_fault_server


@pytest.fixture
def streamvitals_records() -> Iterator[RecordList]:
    """The records of the streams that end in this process while the test runs, oldest first."""
    from .testing import recorded

    with recorded() as records:
        yield records
