"""Which Python a command starts, and, without starting it, whether that one has a package."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .command import Command


class Interpreter(NamedTuple):
    """A Python that the command would start, with the options that it gets, and what it is to run."""

    path: str
    options: tuple[str, ...] = ()
    program: str = ""


def find(command: Sequence[str], env: Mapping[str, str]) -> Interpreter | None:
    """The Python that the command starts, itself or by a script's first line; None where that cannot be known.

    Raises CommandError where the command, or what its first line names, is not found.
    """
    path = Command.find(command, env).path
    if os.path.basename(path).startswith("python"):
        options = tuple(_options(command[1:]))
        rest = command[1 + len(options):]
        return Interpreter(path, options, rest[0] if rest else "")
    words = _first_line(path)
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word != "-S"]
    if words and os.path.basename(words[0]).startswith("python"):
        return Interpreter(Command.find(words[:1], env).path, tuple(_options(words[1:])), path)
    return None


def _first_line(path: str) -> list[str]:
    with open(path, "rb") as file:
        lines = file.read(512).splitlines()
    for line in lines[:2]:
        text = line.decode(errors="replace")
        if text.startswith("#!") and "python" in text:
            return shlex.split(text[2:])
        # What installers write where the interpreter's path is too long for a first line.
        if text.startswith("'''exec'"):
            return shlex.split(text.removeprefix("'''exec'"))[:1]
    return []


def _options(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if not argument.startswith("-") or argument in ("-c", "-m", "-"):
            return
        if not argument.startswith("--") and set(argument[1:]) <= set("bBdEIOPqsSuv"):
            yield argument


def lacks(package: str, interpreter: Interpreter, env: Mapping[str, str]) -> bool:
    """Whether that Python will surely not find the package: wherever it might still be, the answer is False."""
    path = os.path.abspath(interpreter.path)
    folders = _site_folders(path, env)
    if not folders or _is_archive(interpreter.program):
        return False
    places = [*folders, *_linked(folders), os.getcwd(), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    if os.path.exists(interpreter.program):
        places.append(os.path.dirname(os.path.realpath(interpreter.program)))
    if any(place.endswith((".zip", ".egg", ".pex")) for place in places):
        return False
    names = (package, f"{package}.py", f"__editable__*{package}*", f"{package}-*.dist-info", f"{package}.egg-link")
    return not any(glob.glob(os.path.join(glob.escape(place), name)) for place in places for name in names)


def _site_folders(path: str, env: Mapping[str, str]) -> list[str]:
    """The folders of installed packages; none where they cannot be told from the outside."""
    root = os.path.dirname(os.path.dirname(path))
    try:
        with open(f"{root}/pyvenv.cfg", errors="replace") as file:
            if re.search(r"(?im)^\s*include-system-site-packages\s*=\s*true", file.read()):
                return []
    except OSError:
        root = os.path.dirname(os.path.dirname(os.path.realpath(path)))
    else:
        return glob.glob(f"{glob.escape(root)}/lib*/python3*/site-packages")
    found = glob.glob(f"{glob.escape(root)}/lib*/python3*/*-packages")
    if not found or "PYTHONHOME" in env:
        return []
    home = env.get("PYTHONUSERBASE") or os.path.join(env.get("HOME", "/nowhere"), ".local")
    more = glob.glob(f"{glob.escape(home)}/lib/python3*/site-packages")
    debians = [*glob.glob("/usr/lib/python3*/dist-packages"), *glob.glob("/usr/local/lib/python3*/*-packages")]
    return [*found, *more, *debians]


def _linked(folders: Sequence[str]) -> Iterator[str]:
    """What .pth files add."""
    for folder in folders:
        for name in glob.glob(f"{glob.escape(folder)}/*.pth"):
            with open(name, errors="replace") as file:
                for line in file:
                    text = line.strip()
                    if text and not text.startswith(("#", "import ", "import\t")):
                        yield os.path.join(folder, text)


def _is_archive(program: str) -> bool:
    """Whether the program brings its packages along: a zip with or without a first line, or a folder."""
    if os.path.isdir(program):
        return True
    try:
        with open(program, "rb") as file:
            return b"PK\3\4" in file.read(4096)
    except OSError:
        return False
