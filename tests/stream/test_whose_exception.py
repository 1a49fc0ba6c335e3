"""Whose exception it is that was caught around our code: ours, or the app's that only struck there."""

from __future__ import annotations

import ctypes
import functools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from streamvitals.stream.chunks import get
from streamvitals.stream.tracebacks import is_foreign


class SoftTimeLimit(Exception):
    """As Celery's."""


class Handlers:
    """The ways in which a program writes its signal handler."""

    def method(self, number: int, frame: FrameType | None) -> None:
        raise SoftTimeLimit

    def __call__(self, number: int, frame: FrameType | None) -> None:
        raise MemoryError


def function(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


def everything(*_: object) -> None:
    raise SoftTimeLimit


def through_another(number: int, frame: FrameType | None) -> None:
    function(number, None)


def forgets_itself(number: int, frame: FrameType | None) -> None:
    """It is no longer installed when its exception is looked at."""
    signal.signal(number, signal.SIG_IGN)
    raise TimeoutError


def deletes_what_it_is_given(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise TimeoutError


class Deletes:
    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeoutError

    def method(self, *given: object) -> None:
        del given
        raise TimeoutError


@pytest.fixture
def alarm() -> Iterator[Callable[[Any], None]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)  # type: ignore[misc]
    signal.signal(signal.SIGUSR1, before)


class Interrupted:
    """What it is asked for, a signal comes in between."""

    @property
    def usage(self) -> None:
        signal.raise_signal(signal.SIGUSR1)


class Broken:
    @property
    def usage(self) -> None:
        raise SoftTimeLimit


@pytest.mark.parametrize(
    "handler",
    [function, everything, through_another, forgets_itself, Handlers().method, Handlers(),
     functools.partial(function), deletes_what_it_is_given, Deletes(), Deletes().method,
     functools.partial(deletes_what_it_is_given)],
    ids=lambda handler: getattr(handler, "__qualname__", type(handler).__name__),
)
def test_what_a_signal_handler_raises_is_the_apps(alarm: Callable[[Any], None], handler: Any) -> None:
    alarm(handler)
    with pytest.raises((SoftTimeLimit, TimeoutError, MemoryError)) as caught:
        get(Interrupted(), "usage")
    assert is_foreign(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_what_is_no_exception_is_the_apps(error: BaseException) -> None:
    assert is_foreign(error)


def fault_in_a_library() -> None:
    json.loads("{")


def fault_in_a_chunk() -> None:
    """A class of the app's own that ``parse(to=...)`` builds: we asked it, it did not interrupt us."""
    get(Broken(), "usage")


def fault_of_ours() -> None:
    get()  # type: ignore[call-arg]


@pytest.mark.parametrize("fault", [fault_in_a_library, fault_in_a_chunk, fault_of_ours])
def test_what_our_own_code_ran_into_is_ours(alarm: Callable[[Any], None], fault: Callable[[], None]) -> None:
    alarm(function)
    with pytest.raises((ValueError, SoftTimeLimit, TypeError)) as caught:
        fault()
    assert not is_foreign(caught.value)


def test_what_another_thread_sets_is_the_apps() -> None:
    """As libraries for timeouts do: the exception has no frame of its own, and a class that we do not know."""
    judged: list[bool] = []

    def work(begun: threading.Event) -> None:
        try:
            begun.set()
            while True:
                get({}, "usage")
        except SoftTimeLimit as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:  # it struck in our code
                judged.append(is_foreign(error))

    for _ in range(200):
        begun = threading.Event()
        thread = threading.Thread(target=work, args=(begun,))
        thread.start()
        begun.wait()
        number, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SoftTimeLimit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, error)
        thread.join()
        if len(judged) == 5:
            break
    assert judged == [True] * 5
