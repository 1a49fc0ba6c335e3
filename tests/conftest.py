"""Fixtures that the tests share."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis  # before the freeze, which hides referrers from its check of trio's generators
import hypothesis.strategies
import pytest

from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.testing import RecordList, recorded

# The same examples in every run, and none is failed for being slow.
hypothesis.settings.register_profile("streamvitals", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("streamvitals")
pytest.register_assert_rewrite("app_support")


@hypothesis.given(hypothesis.strategies.none())
def _first_example(_: None) -> None:
    """With its first example Hypothesis looks for who refers to its source of randomness; frozen, nobody does."""



def pytest_configure() -> None:
    """A shell that starts us in the background has SIGINT ignored, and Python leaves it so: no test of Ctrl-C
    would ever see one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    _first_example()
    _freeze()


def _freeze() -> None:
    """What is left by now stays. A full collection, of which every test makes some, would walk all of the SDK."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server() -> Iterator[ThreadedFaultServer]:
    """One fault server for all tests; every test makes its own clients."""
    with ThreadedFaultServer(log_size=100_000) as running:
        yield running


@pytest.fixture
def records() -> Iterator[RecordList]:
    """Observe the streams of this process for one test."""
    with recorded() as found:
        yield found


@pytest.fixture
def observe(server: ThreadedFaultServer) -> Callable[..., RecordList]:
    """Run an act bare, then observed; see app_support.observe."""
    import app_support

    def run_both(act: Any, config: Config | None = None) -> RecordList:
        return app_support.observe(act, server, config)

    return run_both


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Garbage of one test must not end in another one's records, nor a runtime observe another one's streams."""
    yield
    _freeze()
    left, enabled, on_interrupt = lifecycle.current(), gc.isenabled(), signal.getsignal(signal.SIGINT)
    if left is not None:
        lifecycle.stop()
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert left is None, "the test left a runtime behind"
    assert sys.exc_info()[1] is None, "the test left an exception that is being handled for good"
    assert enabled, "the test left the collector switched off"
    assert on_interrupt is signal.default_int_handler, "the test left SIGINT to another handler"
