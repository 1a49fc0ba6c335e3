"""Where a store's segments live: on the heap, or in mapped files that outlive the process.

The rules for working inside the app's process:

- The space of a file is allocated before it is mapped: a full tmpfs must be an error here and not a SIGBUS later.
- No descriptor is kept: an app that daemonises closes all of them, and its next files get the same numbers.
- Nothing is ever unmapped, and a forked child releases views without touching the memory behind them (MADV_DONTFORK
  would turn a touch into a segmentation fault).
- The app keeps the space that it needs: where a file system is small or nearly full, the files are made on another
  one, or not at all.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
import time
from array import array
from collections.abc import Callable
from typing import Any, Protocol, cast

from ..startup import registration
from .segment import Header, Identity, Shape, write_header

SUFFIX = ".sv"
# Bytes that must stay free on a file system; on a small one, a quarter of it.
_LEFT_FREE = 16 * 1024 * 1024
_SPACE = b"\0" * 65536
# Mappings stay for as long as the process does.
_kept: list[Any] = []


class MemoryUnavailableError(Exception):
    """No segment can be made; the message is an errno's name or a short reason, without paths."""


class Memory(Protocol):
    """Makes segments. ``mapped``: other processes can see them; ``at_once``: they should be made before they are
    needed, because the process may lose the right to make them."""

    mapped: bool

    @property
    def at_once(self) -> bool: ...

    def allocate(self, form: Shape) -> memoryview[float]:
        """A new segment with its header written, as doubles. Raises MemoryUnavailableError."""

    def after_fork(self) -> None:
        """Adapt to a new process, in a forked child."""

    def report_unseen(self, reason: str) -> None:
        """Report to the agent that it cannot see what this process counts."""


class HeapMemory:
    """Segments that only this process sees."""

    mapped = False
    at_once = False

    def allocate(self, form: Shape) -> memoryview[float]:
        """A new segment of zeros with its header. Raises MemoryError, as any Python statement may."""
        view: Any = memoryview(array("d", bytes(form.size)))
        write_header(view, Header(Identity(0, 0, 0, 0, 0), time.monotonic_ns(), form))
        return cast("memoryview[float]", view)

    def after_fork(self) -> None:
        """Nothing to do."""

    def report_unseen(self, reason: str) -> None:
        """Do nothing: no other process is meant to see these segments."""


class MappedMemory:
    """Segments in files ``<pid>-<starttime>.<n>.sv`` of a private directory."""

    mapped = True

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._identity = process_identity()
        self._next = 0

    @property
    def at_once(self) -> bool:
        """True for root, which may be about to become a user who may not create files here."""
        return os.geteuid() == 0

    def allocate(self, form: Shape) -> memoryview[float]:
        """A new file, filled with zeros, mapped, with its header. Raises MemoryUnavailableError."""
        try:
            if not registration.may_grow(self._directory):
                raise MemoryUnavailableError("nobody reads")
            try:
                return self._create(self._directory, form)
            except OSError:
                other = registration.reserve(self._directory)
                if other is None:
                    raise
                return self._create(other, form)
        except OSError as error:
            raise MemoryUnavailableError(errno.errorcode.get(error.errno or 0, "OSError")) from error

    def after_fork(self) -> None:
        """Make files of the child's own from now on."""
        self._identity = process_identity()
        self._next = 0

    def report_unseen(self, reason: str) -> None:
        """Leave a registration with the reason for the agent."""
        registration.register(self._directory, registration.UNSEEN, reason.replace(" ", "_"))

    def _create(self, directory: str, form: Shape) -> memoryview[float]:
        _check_room(directory, form.size)
        while True:
            # Other users may have taken the next names, but cannot guess random ones.
            number = self._next if self._next < 1000 else int.from_bytes(os.urandom(7), "little")
            self._next += 1
            name = f"{self._identity.pid}-{self._identity.start}.{number}"
            aside = os.path.join(directory, f".{name}.{os.urandom(8).hex()}.tmp")
            final = os.path.join(directory, name + SUFFIX)
            # The file of a program that was replaced by exec in this process, or another user's.
            if os.path.lexists(final):
                continue
            fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            done = False
            try:
                view = self._fill(fd, form)
                os.rename(aside, final)
                done = True
                return view
            finally:
                os.close(fd)
                if not done:
                    os.unlink(aside)

    def _fill(self, fd: int, form: Shape) -> memoryview[float]:
        os.fchmod(fd, 0o600)
        reserve(fd, form.size)
        view, _ = map_shared(fd, form.size, writable=True)
        write_header(view, Header(self._identity, time.monotonic_ns(), form))
        return view


def _check_room(directory: str, size: int) -> None:
    """Raise OSError where a file of that size would take space that the app needs, or raise a signal."""
    try:
        import resource
    except ImportError:
        pass
    else:
        # Past the limit the kernel sends SIGXFSZ, which kills a program that does not ignore it.
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and size > limit:
            raise OSError(errno.EFBIG, "file size limit")
    found = os.statvfs(directory)
    whole, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    # The size is 0 for a tmpfs that is mounted without one, or a file system that does not report it.
    if whole and free - size < min(whole // 4, _LEFT_FREE):
        raise OSError(errno.ENOSPC, "the rest is the app's")


def reserve(fd: int, size: int) -> None:
    """Give a new file ``size`` bytes of real space. Raises OSError (ENOSPC, EDQUOT, EFBIG)."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
        # The file system does not support it, and this C library does not emulate it.
        left = size
        while left:
            left -= os.write(fd, _SPACE[:left])


def map_shared(fd: int, size: int, *, writable: bool) -> tuple[memoryview[float], Callable[[], None]]:
    """Map a file without keeping its descriptor: a view of doubles, and a function that unmaps it.

    Inside an app that function must not be called. Raises OSError; MemoryUnavailableError where mapping is not
    possible without keeping a descriptor.
    """
    return (_map_untracked if sys.version_info >= (3, 13) else _map_libc)(fd, size, writable)


def _map_untracked(fd: int, size: int, writable: bool) -> tuple[memoryview[float], Callable[[], None]]:
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    options: dict[str, Any] = {"trackfd": False}
    mapping = mmap.mmap(fd, size, mmap.MAP_SHARED, prot, **options)
    view = memoryview(mapping).cast("d")
    if writable:
        _kept.append(mapping)
    return view, mapping.close


def _map_libc(fd: int, size: int, writable: bool) -> tuple[memoryview[float], Callable[[], None]]:
    try:
        import ctypes

        libc: Any = ctypes.CDLL(None, use_errno=True)
        from_memory: Any = ctypes.pythonapi.PyMemoryView_FromMemory
        libc.mmap, libc.munmap  # noqa: B018
    except (ImportError, AttributeError, OSError) as error:
        raise MemoryUnavailableError("no ctypes") from error
    call = libc.mmap
    call.restype = ctypes.c_void_p
    call.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
    )
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    address = call(None, size, prot, mmap.MAP_SHARED, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    from_memory.restype = ctypes.py_object
    from_memory.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
    # PyBUF_READ and PyBUF_WRITE of the C API.
    view: memoryview[float] = from_memory(address, size, 0x200 if writable else 0x100).cast("d")

    def unmap() -> None:
        libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        libc.munmap(address, size)

    return view, unmap


def process_identity() -> Identity:
    """The identity of this process, with a number for a new store.

    It is read from /proc/self/stat, so that another process finds the same in /proc/<pid>/stat."""
    store = time.monotonic_ns()
    try:
        with open("/proc/self/stat", "rb") as file:
            text = file.read()
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return Identity(os.getpid(), 0, 0, 0, store)
    # The name in parentheses may contain anything, even parentheses; field 3 follows the last one.
    rest = text[text.rindex(b")") + 2 :].split()
    start = int(rest[19]) - registration.boot_offset()
    return Identity(int(text[: text.index(b" ")]), start, int(rest[25]), namespace, store)
