"""Where an exception came from: its causes, and whose frames it passed through. Keeps nothing of them."""

from __future__ import annotations

import signal
import sys

# The function below signal.getsignal, which makes an enumeration of what it finds, at some times the cost.
from _signal import getsignal  # type: ignore[import-not-found]
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from types import FrameType
from typing import Any

# Libraries between the provider and the app.
LIBRARIES = frozenset({
    "openai", "httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "hpack", "hyperframe", "httpx_aiohttp",
    "aiohttp", "anyio", "sniffio", "trio", "uvloop", "gevent", "eventlet", "greenlet", "websockets", "socksio",
    "jiter", "httptools",
    "pydantic", "pydantic_core", "brotli", "brotlicffi", "zstandard", "async_timeout", "exceptiongroup", "outcome",
    "streamvitals",
})
_MAX_LINKS = 16
_MAX_FRAMES = 12  # frames searched for a handler, from the frame that raised outwards


def chain(error: BaseException) -> list[BaseException]:
    """The exception, then what caused it: ``__cause__`` first, else ``__context__``. Bounded, cycle-safe.

    It ends before an exception that the app was handling when it made this call: Python makes that the context
    of whatever is raised then. The first error of a group stands for all of them.
    """
    links: list[BaseException] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(links) < _MAX_LINKS:
        seen.add(id(link))
        links.append(link)
        before = link.__cause__
        if before is None:
            before = link.__context__
            if before is not None and handled_above(before):
                break
        if before is None:
            inner = getattr(link, "exceptions", None)
            before = inner[0] if isinstance(inner, tuple) and inner and isinstance(inner[0], BaseException) else None
        link = before
    return links


def names_of(links: Iterable[BaseException]) -> tuple[str, ...]:
    """Class names along a chain, outermost first: all that is kept of an exception."""
    return tuple([type(link).__name__ for link in links])


def kinds_of(error: BaseException) -> frozenset[str]:
    """The names of the exception's class and of all its base classes."""
    return _kinds(type(error))  # type: ignore[arg-type]  # mypy checks the hash of an instance instead of the class's


@lru_cache(128)
def _kinds(one: Any) -> frozenset[str]:
    return frozenset([kind.__name__ for kind in one.__mro__])


def handled_above(error: BaseException) -> bool:
    """Whether a frame that is still running, outside our own, has caught the exception."""
    trace = error.__traceback__
    if trace is None:
        return False
    caught = trace.tb_frame
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame is caught:
            return True
        frame = frame.f_back
    return False


def frames_of(error: BaseException) -> list[FrameType]:
    """The frames that an exception passed through, ending with the one that raised it."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def module_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def package_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""


def raised_in(error: BaseException) -> tuple[str, str]:
    """Module and function of the frame that raised; for compiled code, the function's name without its class."""
    return innermost(frames_of(error))


def innermost(frames: list[FrameType]) -> tuple[str, str]:
    """As ``raised_in``, of the frames that an exception passed through."""
    if not frames:
        return "", ""
    return module_of(frames[-1]), frames[-1].f_code.co_name.rpartition(".")[2]


def passed(frames: list[FrameType], package: str, function: str) -> bool:
    """Whether one of the frames is of this function of this package."""
    return any(frame.f_code.co_name == function and package_of(frame) == package for frame in frames)


@lru_cache(256)
def is_library(package: str) -> bool:
    """Whether a package is a library below the app, and not code that the app has added."""
    return package in LIBRARIES or (package in sys.stdlib_module_names and package != "__main__")


@lru_cache(512)
def _is_of_library(module: object) -> bool:
    return isinstance(module, str) and is_library(module.partition(".")[0])


def strangers_in(frames: list[FrameType]) -> bool:
    """Whether any of the frames is not a library's: in most exceptions none is, and a signal's handler never is."""
    return not all(map(_is_of_library, [frame.f_globals.get("__name__") for frame in frames]))


def interrupted(error: BaseException) -> bool:
    """Whether a signal handler raised the exception: a handler is given the frame that it interrupts
    (https://docs.python.org/3/library/signal.html#signal.signal)."""
    return interrupted_in(frames_of(error))


def interrupted_in(frames: list[FrameType]) -> bool:
    """As ``interrupted``, of the frames that an exception passed through."""
    for before, frame in pairwise(frames[-_MAX_FRAMES:]):
        if not is_library(package_of(frame)) and (
            any(one is before for one in _frames_given(frame)) or _is_installed(frame)
        ):
            return True
    return False


def _is_installed(frame: FrameType) -> bool:
    """Whether a signal handler runs in this frame; the handler may have deleted the frame that it was given."""
    return any(_code_of(handler) is frame.f_code for handler in map(getsignal, _SIGNALS) if callable(handler))


def _code_of(handler: object) -> object:
    handler = getattr(handler, "func", handler)  # a functools.partial
    called = vars(type(handler)).get("__call__")  # a callable object
    return getattr(handler, "__code__", None) or getattr(called, "__code__", None)


_SIGNALS = [  # the ones that programs handle, without the real-time signals
    signal.Signals[name] for name in ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGHUP",
                                      "SIGINT", "SIGQUIT") if name in signal.Signals.__members__
]


def _frames_given(frame: FrameType) -> Iterator[FrameType]:
    """The frames among the arguments of this frame's call."""
    code = frame.f_code
    given = code.co_argcount + code.co_kwonlyargcount
    if code.co_flags & _VARARGS:
        given += 1
    variables = frame.f_locals
    for name in code.co_varnames[:given]:
        value = variables.get(name)
        for one in value if type(value) is tuple else (value,):
            if type(one) is FrameType:
                yield one


_VARARGS = 0x04  # inspect.CO_VARARGS: importing inspect costs more than all other imports here


def thrown_in(error: BaseException) -> bool:
    """Whether an exception of the app's own class was raised inside a library, by another thread or by gevent."""
    return not _is_of_library(str(type(error).__module__)) and _is_of_library(raised_in(error)[0])


def is_foreign(error: BaseException) -> bool:
    """Whether an exception caught around our own code is the app's, which has to get it.

    A signal handler has raised it there, or another thread has thrown it in."""
    return not isinstance(error, Exception) or interrupted(error) or thrown_in(error)


def in_event_hook(frames: list[FrameType]) -> bool:
    """Whether an exception that passed through these frames came from, or through, a hook that the app has given to the
    HTTP client."""
    if "_send_handling_redirects" not in [frame.f_code.co_name for frame in frames]:
        return False
    for caller, called in pairwise(frames):
        if caller.f_code.co_name != "_send_handling_redirects" or package_of(caller) not in ("httpx", "httpx2"):
            continue
        if package_of(called) not in ("httpx", "httpx2", "streamvitals"):  # a frame appears twice where it raised again
            return not _reads_the_response(frames)
    return False


def _reads_the_response(frames: list[FrameType]) -> bool:
    """Whether the app's hook was reading a response when it raised: the sender of the response is then to blame."""
    apps = [at for at, frame in enumerate(frames) if not is_library(package_of(frame))]
    below = frames[apps[-1] + 1 :] if apps else []
    return bool(below) and module_of(below[0]) in ("httpx._models", "httpx2._models")
