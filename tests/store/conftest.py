"""Fixtures of the tests of the store."""

from __future__ import annotations

from typing import Any

import pytest

from streamvitals.store.memory import HeapMemory, MappedMemory
from streamvitals.store.store import Store, StoreSink


@pytest.fixture(params=["heap", "mapped"])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Store:
    return Store(HeapMemory() if request.param == "heap" else MappedMemory(str(tmp_path)))


@pytest.fixture
def sink(store: Store) -> StoreSink:
    return StoreSink(store, unix_time=lambda: 5000.0)
