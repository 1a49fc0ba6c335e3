"""What the runtime of this process has counted, and doing something without waiting for it for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from app_support import HANGS
from store_support import assert_consistent, ended
from streamvitals.process import lifecycle


def counted() -> dict[str, int]:
    """Streams by outcome, as the store has them, which must be consistent in itself."""
    current = lifecycle.current()
    assert current is not None
    snapshot = current.snapshot()
    assert_consistent(snapshot)
    return {outcome: int(count) for outcome, count in ended(snapshot).items() if count}


def open_streams() -> int:
    current = lifecycle.current()
    assert current is not None
    return sum(current.snapshot().active.values())


def within_time(act: Callable[[], Any]) -> None:
    """Run in a thread of its own: a deadlock fails the test and does not hang the suite."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - reported below, on the thread of the test
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive(), "deadlock"
    assert failures == []
