"""The private directory that an app's processes and their agent share.

Registrations `<pid>-<starttime>.proc` (presence.py), mapped files (sinks/store.py), the agent's own facts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..presence import SUFFIX
from .processes import Identity, alive, parse_identity

PREFIX = "streamvitals-"
FACTS, LOCK, LOG = "agent.json", "agent.lock", "agent.log"
# How long the data of an agent that was killed is kept for somebody to serve again. Seconds.
KEEP_ORPHANS = 86400.0
# A fault that repeats must not fill a tmpfs. Bytes.
LOG_LIMIT = 65536


def parents(env: Mapping[str, str]) -> list[str]:
    """Where a private directory may be made, the best first: memory, then the user's, then any."""
    candidates = ["/dev/shm", env.get("XDG_RUNTIME_DIR", ""), env.get("TMPDIR", ""), "/tmp"]  # noqa: S108
    return [c for c in candidates if os.path.isabs(c)]


def create(env: Mapping[str, str]) -> str:
    """Make a private directory (mode 0700) and return its path. Raises OSError where none can be made."""
    fault = OSError("no directory for temporary files is writable")
    for parent in parents(env):
        path = f"{parent}/{PREFIX}{os.urandom(6).hex()}"
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            fault = error
        else:
            return path
    raise fault


class Registration(NamedTuple):
    """What a process said of itself: ``image`` as in processes.Entry, ``kind`` of presence.py's words."""

    image: int
    kind: str
    detail: str


def registered(directory: str) -> dict[Identity, Registration]:
    """Who has registered."""
    found = {}
    for name in _names(directory):
        identity = parse_identity(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
        if identity is not None:
            with contextlib.suppress(OSError, ValueError):
                image, _, what = Path(directory, name).read_text(errors="replace").partition(" ")
                kind, _, detail = what.partition(" ")
                found[identity] = Registration(int(image or 0), kind, detail)
    return found


def forget(directory: str, identity: Identity) -> bool:
    """Remove the registration of a process that has gone; whether it was there."""
    try:
        os.unlink(f"{directory}/{identity.pid}-{identity.start}{SUFFIX}")
    except OSError:
        return False
    return True


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
        facts = json.loads(Path(directory, FACTS).read_text())
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
    shutil.rmtree(directory, ignore_errors=True)


def sweep(directory: str) -> None:
    """Remove what agents that were killed left beside `directory` and nobody has come back for."""
    parent = os.path.dirname(directory)
    for path in _siblings(parent):
        if path != directory and _abandoned(path):
            remove(path)


def _siblings(parent: str) -> Iterator[str]:
    for name in _names(parent):
        path = f"{parent}/{name}"
        with contextlib.suppress(OSError):
            if name.startswith(PREFIX) and os.lstat(path).st_uid == os.geteuid() and not os.path.islink(path):
                yield path


def _abandoned(path: str) -> bool:
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
