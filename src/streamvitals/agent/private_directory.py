"""The private directory that an app's processes and their agent share.

Only its owner may use it, except where the owner is root. Root's apps may become another user before they stream
(`gunicorn --user`, an entrypoint that ends in `gosu`), and that user must be able to make files there too. So every
user who knows the name of root's directory may make files in it, but none may list it, and only the app's environment
has the name, as the folder around it cannot be listed.

It contains registrations (startup/registration.py) and mapped files (store/memory.py). Other users may learn the name,
as a worker does that drops its rights, and make any files: what is read there is not trusted, and nothing is written to
files that exist already. The agent's own files are in the folder around it, where only the agent's user may write.

A second directory, the reserve, is made on another file system, for when the first is full.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ..startup.registration import PREFIX, RESERVE, SUFFIX, home, reserve
from .proc import Identity, alive, may_be_of, parse_identity

_NAME = re.compile(re.escape(PREFIX) + "[0-9a-f]{12}")
FACTS, LOCK, LOG = "agent.json", "agent.lock", "agent.log"
# A link in a reserve back to the directory that it is the reserve of.
_FIRST = "agent.first"
# How long the data of an agent that was killed is kept, so that the user can serve it again. Seconds.
KEEP_ORPHANS = 86400.0
# Most bytes of the agent's log: a fault that repeats must not fill a tmpfs.
LOG_LIMIT = 65536
# A file system with less free than so many bytes, or so many files, is tried after the others.
_ROOM, _FILES = 8 * 1024 * 1024, 1000


def parents(env: Mapping[str, str]) -> list[str]:
    """The folders where a private directory may be made, best first: memory, then the user's, then any."""
    candidates = ["/dev/shm", env.get("XDG_RUNTIME_DIR", ""), env.get("TMPDIR", ""), "/tmp"]
    return [c for c in candidates if os.path.isabs(c)]


def create(env: Mapping[str, str]) -> str:
    """Make a private directory and its reserve, and return its path. Raises OSError where none can be made."""
    name, inner = PREFIX + os.urandom(6).hex(), os.urandom(12).hex()
    made: list[str] = []
    devices: set[int] = set()
    fault = OSError("no directory for temporary files is writable")
    # In order of preference, folders with space before those without.
    for parent in sorted(parents(env), key=_is_full):
        try:
            device = os.stat(parent).st_dev
            if device not in devices:
                made.append(_make(f"{parent}/{name}", inner))
                devices.add(device)
        except OSError as error:
            fault = error
        if len(made) == 2:
            break
    if not made:
        raise fault
    if len(made) == 2:
        with contextlib.suppress(OSError):
            link_reserve(*made)
    return made[0]


def _is_full(parent: str) -> bool:
    try:
        found = os.statvfs(parent)
    except OSError:
        return True
    # A file system that reports no size, or no number of files, has no limit or does not report it.
    space = not found.f_blocks or found.f_bavail * found.f_frsize >= min(_ROOM, found.f_blocks * found.f_frsize // 2)
    return not (space and (not found.f_files or found.f_favail >= _FILES))


def _make(path: str, inner: str) -> str:
    os.mkdir(path, 0o700)
    try:
        os.chmod(path, 0o700)  # restores what the umask has taken from the owner
        return _drop_box(path, inner) if os.geteuid() == 0 else path
    except OSError:
        remove(path)
        raise


def _drop_box(path: str, name: str) -> str:
    inner = f"{path}/{name}"
    os.mkdir(inner, 0o700)
    os.chmod(inner, 0o1733)
    os.chmod(path, 0o711)
    return inner


def link_reserve(first: str, second: str) -> None:
    """Link each of the two directories to the other. Raises OSError."""
    os.symlink(first, f"{home(second)}/{_FIRST}")
    os.symlink(second, f"{home(first)}/{RESERVE}")


def restore(directory: str) -> None:
    """Make the directory again after it has been removed.

    Raises OSError; FileExistsError if it exists.
    """
    outer = home(directory)
    if outer == directory:
        os.mkdir(directory, 0o700)
    else:
        with contextlib.suppress(FileExistsError):
            os.mkdir(outer, 0o700)
        # Not inside a folder that another user has put in its place.
        if os.lstat(outer).st_uid != os.geteuid() or not stat.S_ISDIR(os.lstat(outer).st_mode):
            raise PermissionError(f"{outer} is another user's")
        _drop_box(outer, os.path.basename(directory))


def places(directory: str) -> list[str]:
    """The directory, and its reserve if it has one."""
    other = reserve(directory)
    return [directory] if other is None else [directory, other]


class Registration(NamedTuple):
    """The last report of a process: ``image`` as in proc.Entry, ``kind`` one of startup/registration.py.

    ``files`` has a path for each report; ``reports`` are the kinds and details of all reports from the program that
    the process runs now.
    """

    written: int
    image: int
    kind: str
    detail: str
    files: tuple[str, ...]
    reports: frozenset[tuple[str, str]]


def registered(directory: str, refuse: Callable[[str], object] = lambda _: None) -> dict[Identity, Registration]:
    """Read the registrations; ``refuse`` gets the path of each file that is named like one but is invalid."""
    found: dict[Identity, Registration] = {}
    for place in places(directory):
        for entry in _entries(place):
            identity = parse_identity(entry.name.split(".")[0]) if entry.name.endswith(SUFFIX) else None
            if identity is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                one = _read(entry, identity)
                if one is None:
                    refuse(entry.path)
                    continue
                other = found.get(identity)
                found[identity] = one if other is None else _merged(one, other)
    return found


def _merged(one: Registration, other: Registration) -> Registration:
    newest = max(one, other)
    reports = one.reports | other.reports if one.image == other.image else newest.reports
    return newest._replace(files=one.files + other.files, reports=reports)


def _read(entry: os.DirEntry[str], identity: Identity) -> Registration | None:
    # The name holds the whole registration: a file that is never opened cannot block the agent.
    info = entry.stat(follow_symlinks=False)
    _, image, kind, *rest = (entry.name.removesuffix(SUFFIX) + "..").split(".")
    good = stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and not info.st_size and image.isdecimal() and kind
    # For a process that has gone, the owner of the file cannot be checked; the registration is only removed.
    if not good or (not may_be_of(info.st_uid, identity.pid) and alive(identity)):
        return None
    return Registration(info.st_mtime_ns, int(image), kind, rest[0], (entry.path,), frozenset({(kind, rest[0])}))


def forget(registration: Registration) -> None:
    """Remove the registration of a process that has gone."""
    for path in registration.files:
        with contextlib.suppress(OSError):
            os.unlink(path)


def has_data(directory: str) -> bool:
    """Whether any process has ever counted something here."""
    names = {name for place in {*places(directory), home(directory)} for name in _names(place)}
    return any(name.endswith((".sv", ".sum")) for name in names)


def lock(directory: str) -> int | None:
    """Become the only agent of a directory.

    Returns a descriptor to keep open, or None if there is another agent.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(f"{home(directory)}/{LOCK}", flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def unlock(held: int) -> None:
    """Release a lock that ``lock`` returned."""
    os.close(held)


def write_facts(directory: str, facts: Mapping[str, object]) -> None:
    """Write which agent serves this directory, and where, for `doctor` and for people."""
    path = f"{home(directory)}/{FACTS}"
    with open(path + ".new", "w") as file:
        json.dump(facts, file)
    os.replace(path + ".new", path)


def read_facts(directory: str) -> dict[str, object]:
    """Read what the agent wrote about itself; empty if there is nothing."""
    try:
        with open(f"{home(directory)}/{FACTS}") as file:
            facts = json.load(file)
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def note(directory: str, text: str) -> None:
    """Add a line to the agent's log, up to a bound."""
    with contextlib.suppress(OSError), open(f"{home(directory)}/{LOG}", "a") as file:
        if file.tell() < LOG_LIMIT:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")


def remove(directory: str) -> None:
    """Remove the directory, its content, and its reserve."""
    for place in places(directory)[::-1]:
        outer = home(place)
        if _NAME.fullmatch(os.path.basename(outer)):
            with contextlib.suppress(RecursionError):  # deeply nested folders, which another user has left
                shutil.rmtree(outer, ignore_errors=True)


def sweep(directory: str) -> None:
    """Remove what killed agents have left beside `directory`, unless it is being served again."""
    for place in places(directory):
        own = home(place)
        for path in _siblings(os.path.dirname(own)):
            if path != own and _abandoned(path):
                remove(path)


def urls(env: Mapping[str, str]) -> list[str]:
    """Where the agents of this user that run on this machine serve."""
    found = []
    for parent in parents(env):
        for path in _siblings(parent):
            facts = read_facts(path)
            agent = parse_identity(str(facts.get("agent")))
            if agent is not None and alive(agent) and facts.get("url"):
                found.append(str(facts["url"]))
    return list(dict.fromkeys(found))


def _siblings(parent: str) -> Iterator[str]:
    for name in _names(parent):
        path = f"{parent}/{name}"
        with contextlib.suppress(OSError):
            if _NAME.fullmatch(name) and not os.path.islink(path) and os.lstat(path).st_uid == os.geteuid():
                yield path


def _abandoned(path: str) -> bool:
    """Whether the folder around a directory, or a directory without one, is no longer needed."""
    try:
        inside = [entry.path for entry in _entries(path) if entry.is_dir(follow_symlinks=False)]
        if time.time() - max(os.stat(each).st_mtime for each in inside or [path]) < KEEP_ORPHANS:
            return False
        if os.path.lexists(f"{path}/{_FIRST}"):
            # A reserve is removed together with its directory.
            return not os.path.lexists(os.readlink(f"{path}/{_FIRST}"))
        owners = {parse_identity(name.split(".")[0]) for each in (path, *inside) for name in _names(each)}
        if any(owner is not None and alive(owner) for owner in owners):
            return False
        held = lock(path)
    except OSError:
        return False
    if held is None:
        return False
    unlock(held)
    return True


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
