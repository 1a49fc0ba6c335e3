"""Virtual environments by list of requirements, made once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .interpreters import uv

_DONE = "requirements.sha256"


def environment(
    folder: Path, requirements: Sequence[str], python: str = sys.executable, files: Sequence[Path] = ()
) -> Path:
    """The interpreter of an environment at ``folder`` that has these requirements; made anew if they, the
    interpreter, or the text of these files are not those it was made with. Uses uv where there is one. Raises
    CalledProcessError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        # Several test processes may want the same one at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(folder, requirements, python, [path.read_text() for path in files])


def _made(folder: Path, requirements: Sequence[str], python: str, texts: Sequence[str]) -> Path:
    wanted = hashlib.sha256("\n".join((python, *requirements, *texts)).encode()).hexdigest()
    interpreter, done = folder / "bin" / "python", folder / _DONE
    if done.exists() and done.read_text() == wanted:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    if uv():
        _run(uv(), "venv", "-q", "--python", python, str(folder))
        _run(uv(), "pip", "install", "-q", "--python", str(interpreter), *requirements)
    else:
        _run(python, "-m", "venv", str(folder))
        _run(str(interpreter), "-m", "pip", "install", "-q", *requirements)
    done.write_text(wanted)
    return interpreter


def installed(interpreter: Path, requirement: str) -> str:
    """Name and version of what a requirement has brought into the environment. Raises CalledProcessError."""
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    found = subprocess.run(  # noqa: S603 - a list of our own, no shell
        (str(interpreter), "-c", code, name), check=True, stdout=subprocess.PIPE, text=True
    )
    return f"{name} {found.stdout.strip()}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - a list of our own, no shell
