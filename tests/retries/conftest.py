"""Fixtures of the tests of retries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retry_support import App
from streamvitals.faults import ThreadedFaultServer


@pytest.fixture
def app(server: ThreadedFaultServer) -> Iterator[App]:
    """An application without the SDK's own retries."""
    made = App(server)
    yield made
    made.client.close()
