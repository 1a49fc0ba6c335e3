"""The private directory that an app's processes and their agent share.

It is its owner's alone. Root's apps may become somebody else before they stream (`gunicorn --user`, an
entrypoint that ends in `gosu`), who must be able to leave files there too: root's directory takes files from
everybody who knows its name, shows nobody what is in it, and has a name that only the app's environment
tells, for the folder around it cannot be listed.

Registrations `<pid>-<starttime>.proc` (presence.py), mapped files (sinks/store.py), the agent's own facts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..presence import SUFFIX
from .processes import Identity, alive, parse_identity

PREFIX = "streamvitals-"
_NAME = re.compile(re.escape(PREFIX) + "[0-9a-f]{12}")
FACTS, LOCK, LOG = "agent.json", "agent.lock", "agent.log"
# How long the data of an agent that was killed is kept for somebody to serve again. Seconds.
KEEP_ORPHANS = 86400.0
# A fault that repeats must not fill a tmpfs. Bytes.
LOG_LIMIT = 65536


def parents(env: Mapping[str, str]) -> list[str]:
    """Where a private directory may be made, the best first: memory, then the user's, then any."""
    candidates = ["/dev/shm", env.get("XDG_RUNTIME_DIR", ""), env.get("TMPDIR", ""), "/tmp"]
    return [c for c in candidates if os.path.isabs(c)]


def create(env: Mapping[str, str]) -> str:
    """Make a private directory and return its path. Raises OSError where none can be made."""
    fault = OSError("no directory for temporary files is writable")
    for parent in parents(env):
        path = f"{parent}/{PREFIX}{os.urandom(6).hex()}"
        try:
            os.mkdir(path, 0o700)
            return _drop_box(path) if os.geteuid() == 0 else path
        except OSError as error:
            fault = error
    raise fault


def _drop_box(path: str) -> str:
    inner = f"{path}/{os.urandom(12).hex()}"
    try:
        os.mkdir(inner, 0o700)
        os.chmod(inner, 0o1733)
        os.chmod(path, 0o711)
    except OSError:
        remove(path)
        raise
    return inner


class Registration(NamedTuple):
    """What a process said of itself last: ``image`` as in processes.Entry, ``kind`` of presence.py's words.

    ``files`` are where it said so: one that has become another user cannot write to its first, and has two.
    """

    written: int
    image: int
    kind: str
    detail: str
    files: tuple[str, ...]


def registered(directory: str) -> dict[Identity, Registration]:
    """Who has registered."""
    found: dict[Identity, Registration] = {}
    for name in _names(directory):
        identity = parse_identity(name.split(".")[0]) if name.endswith(SUFFIX) else None
        if identity is not None:
            with contextlib.suppress(OSError, ValueError):
                said = _read(f"{directory}/{name}")
                other = found.get(identity)
                if other is not None:
                    said = max(said, other)._replace(files=said.files + other.files)
                found[identity] = said
    return found


def _read(path: str) -> Registration:
    with open(path, errors="replace") as file:
        image, _, what = file.read().partition(" ")
        written = os.fstat(file.fileno()).st_mtime_ns
    kind, _, detail = what.partition(" ")
    return Registration(written, int(image or 0), kind, detail, (path,))


def forget(registration: Registration) -> None:
    """Remove the registration of a process that has gone."""
    for path in registration.files:
        with contextlib.suppress(OSError):
            os.unlink(path)


def has_data(directory: str) -> bool:
    """Whether any process has ever had something to count here."""
    return any(not name.startswith(("agent.", ".")) and name[-5:] != SUFFIX for name in _names(directory))


def lock(directory: str) -> int | None:
    """Become the one agent of a directory: a descriptor to keep open, or None where another one is."""
    fd = os.open(f"{directory}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def unlock(held: int) -> None:
    """Give up a lock that ``lock`` gave."""
    os.close(held)


def write_facts(directory: str, facts: Mapping[str, object]) -> None:
    """Say who serves this directory and where, for `doctor` and for a person who looks."""
    path = f"{directory}/{FACTS}"
    with open(path + ".new", "w") as file:
        json.dump(facts, file)
    os.replace(path + ".new", path)


def read_facts(directory: str) -> dict[str, object]:
    """What the agent said of itself; empty where there is none."""
    try:
        with open(f"{directory}/{FACTS}") as file:
            facts = json.load(file)
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def note(directory: str, text: str) -> None:
    """Add a line to the agent's log, up to a bound."""
    with contextlib.suppress(OSError), open(f"{directory}/{LOG}", "a") as file:
        if file.tell() < LOG_LIMIT:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")


def remove(directory: str) -> None:
    """Remove the directory and all that is in it."""
    outer = os.path.dirname(directory)
    shutil.rmtree(outer if os.path.basename(outer).startswith(PREFIX) else directory, ignore_errors=True)


def sweep(directory: str) -> None:
    """Remove what agents that were killed left beside `directory` and nobody has come back for."""
    outer = os.path.dirname(directory)
    parent = os.path.dirname(outer) if os.path.basename(outer).startswith(PREFIX) else outer
    for path in _siblings(parent):
        if not f"{directory}/".startswith(f"{path}/") and _abandoned(path):
            remove(path)


def _siblings(parent: str) -> Iterator[str]:
    for name in _names(parent):
        path = f"{parent}/{name}"
        with contextlib.suppress(OSError):
            if _NAME.fullmatch(name) and not os.path.islink(path) and os.lstat(path).st_uid == os.geteuid():
                yield path


def _abandoned(path: str) -> bool:
    inside = _names(path)
    if len(inside) == 1 and os.path.isdir(f"{path}/{inside[0]}"):
        path = f"{path}/{inside[0]}"
    try:
        if time.time() - os.stat(path).st_mtime < KEEP_ORPHANS:
            return False
        owners = {parse_identity(name.split(".")[0]) for name in _names(path)}
        if any(owner is not None and alive(owner) for owner in owners):
            return False
        held = lock(path)
    except OSError:
        return False
    if held is None:
        return False
    unlock(held)
    return True


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
