"""Pythons by version: those that are here, and those that can be had without installing anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
# Of the Debian that comes next: packages that can be unpacked on an older one, and sources.
IN_DEBIAN = ("3.14", "3.15", "3.13t", "3.14t")
_ASK = (
    "import sys, sysconfig; t = 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED'));"
    " print('{}.{}'.format(*sys.version_info) + t, sys.executable)"
)


def uv() -> str:
    """The uv beside this interpreter, else that of the path, which may be a shim that leads nowhere; "" if none."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or ""


def interpreter(version: str) -> str:
    """A Python of this version ("3.12"; "3.14t" is free-threaded) that starts, or "". Looks on the path, then where
    pyenv, uv and ``obtain`` put theirs."""
    candidates = [f"python{version}", *_of_pyenv(version)]
    if uv():
        command = (uv(), "python", "find", "--system", "--no-python-downloads", version)
        candidates += [_output(command), _output(command, {"UV_PYTHON_INSTALL_DIR": str(BUILD / "pythons")})]
    candidates.append(str(_debian(version) / "usr" / "bin" / f"python{version}"))
    for candidate in candidates:
        found = _output((candidate, "-c", _ASK)) if shutil.which(candidate) else ""
        if found.partition(" ")[0] == version:
            return found.partition(" ")[2]
    return ""


def obtain(version: str) -> tuple[str, str]:
    """The same, and if there is none, one from uv's downloads or from Debian's next release, put below .build; or ""
    and why not. Raises CalledProcessError if what was had does not start."""
    if found := interpreter(version):
        return found, ""
    reasons = ["none on the path, of pyenv or of uv"]
    if uv():
        command = (uv(), "python", "install", "--no-bin", "--install-dir", str(BUILD / "pythons"), version)
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our list
        if done.returncode:
            reasons.append("uv has none" if "No download found" in done.stderr else "uv could not download it")
    if version in IN_DEBIAN and not interpreter(version):
        path = os.pathsep.join((str(Path(uv()).parent), os.environ["PATH"]))
        command = (str(ROOT / "bench" / "debian_python.sh"), str(_debian(version)), version)
        done = subprocess.run(command, env={**os.environ, "PATH": path}, check=False, text=True)  # noqa: S603 - ours
        if done.returncode == 3:
            reasons.append("Debian's next release did not give it")
        else:
            done.check_returncode()
    elif version not in IN_DEBIAN:
        reasons.append("Debian's next release has none")
    found = interpreter(version)
    return found, "" if found else "; ".join(reasons)


def _debian(version: str) -> Path:
    return BUILD / f"debian-python{version}"


def _of_pyenv(version: str) -> list[str]:
    """Its builds of this version, the newest first."""
    pattern = re.compile(rf"{re.escape(version.rstrip('t'))}\.(\d+){'t' * version.endswith('t')}")
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    builds = [(pattern.fullmatch(path.parts[-3]), str(path)) for path in root.glob("versions/*/bin/python")]
    return [path for _, path in sorted(((int(match[1]), path) for match, path in builds if match), reverse=True)]


def _output(command: tuple[str, ...], variables: dict[str, str] | None = None) -> str:
    done = subprocess.run(  # noqa: S603 - a list of our own, no shell
        command, capture_output=True, text=True, check=False, env={**os.environ, **(variables or {})}
    )
    return done.stdout.strip()
