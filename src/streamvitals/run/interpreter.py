"""Finds out which Python a command starts and, without starting it, whether that Python has a package."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .command import Command

# Programs, by name, that start another program. Even if one is a Python program, it is not the app's Python.
# They start the next command, most of them with a changed environment:
HAND_ON = {
    "env", "nice", "nohup", "setsid", "timeout", "gtimeout", "stdbuf", "ionice", "chrt", "taskset", "time", "numactl",
    "prlimit", "xvfb-run", "dumb-init", "tini", "catatonit", "setpriv",
    "ddtrace-run", "newrelic-admin", "opentelemetry-instrument", "elasticapm-run",
}
# They start a Python of an environment that they manage:
ENVIRONMENTS = {"uv", "poetry", "pdm", "conda", "mamba", "micromamba"}
# They would install packages, or start more than one program:
OTHERS = {
    "pipenv", "hatch", "rye", "pixi", "pipx", "uvx", "tox", "nox", "honcho", "foreman", "supervisord", "circusd",
    "dotenv", "make", "npm", "npx",
}
# They clear the environment:
CLEAR = {"sudo", "doas", "su", "runuser", "pkexec", "systemd-run"}
# They start it in another place, which we cannot see:
ELSEWHERE = {
    "docker", "docker-compose", "podman", "podman-compose", "nerdctl", "kubectl", "oc", "lxc", "ssh", "autossh", "mosh",
    "srun", "sbatch", "flatpak", "vagrant", "heroku", "fly", "modal",
}
STARTERS = HAND_ON | ENVIRONMENTS | OTHERS | CLEAR | ELSEWHERE

_PYTHON = re.compile(r"(?:python|pypy)[\d.]*t?d?")
# The options of CPython that are followed by a value, and those that end the options (Python/getopt.c).
_WITH_VALUE, _LAST = "WX", "cm"


class Interpreter(NamedTuple):
    """A Python that the command would start, with its options and the program that it runs.

    ``flags`` are the letters of the options, ``before`` is the program before it that starts it.
    """

    path: str
    options: tuple[str, ...] = ()
    program: str = ""
    flags: str = ""
    before: tuple[str, ...] = ()


def is_python(path: str) -> bool:
    """Whether a path has the name of a Python."""
    return bool(_PYTHON.fullmatch(os.path.basename(path)))


def find(command: Sequence[str], env: Mapping[str, str]) -> Interpreter | None:
    """The Python that the command starts, itself or by a script's first line; None if unknown.

    It is also unknown if the command starts another command. Raises CommandError if the command, or the interpreter in
    its first line, is not found.
    """
    name = os.path.basename(command[0])
    path = Command.find(command, env).path
    if is_python(name):
        return of_python(path, command[1:])
    if name in STARTERS:
        return None
    words = first_line(path)
    if not words or (os.path.basename(words[0]) != "env" and not is_python(words[0])):
        return None
    return find([*words, path, *command[1:]], env) if is_python(words[0]) else _of_env([*words, path], env)


def _of_env(words: Sequence[str], env: Mapping[str, str]) -> Interpreter | None:
    """The Python of `env [-S] python` and nothing more, which leaves the environment as it is."""
    return find(words[1:], env) if len(words) > 2 and is_python(words[1]) else None


def of_python(path: str, arguments: Sequence[str]) -> Interpreter:
    """The interpreter for a Python with these arguments."""
    options, flags = _options(arguments)
    rest = arguments[len(options):]
    if rest[:1] == ["--"]:
        rest = rest[1:]
    return Interpreter(path, tuple(options), rest[0] if rest else "", flags)


def first_line(path: str) -> list[str]:
    """The words of the line that names a script's interpreter; none if there is no such line.

    The kernel splits off at most one argument, and `env -S` splits the rest.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read(512).splitlines()
    except OSError:
        return []
    for line in lines[:2]:
        text = line.decode(errors="replace")
        if text.startswith("#!"):
            words = text[2:].strip().split(None, 1)
            if words and os.path.basename(words[0]) == "sh":
                continue
            if len(words) == 2 and os.path.basename(words[0]) == "env":
                return [words[0], *_split_for_env(words[1])]
            return words
        # Installers write this form if the interpreter's path is too long for a first line.
        if text.startswith("'''exec'"):
            return _split(text.removeprefix("'''exec'"))[:1]
    return []


def _split_for_env(text: str) -> list[str]:
    found = re.match(r"(-\w*)S\s*|--split-string[= ]", text)
    if not found:
        return [text]
    others = found[1] if found[1] and found[1] != "-" else ""
    return [*([others] if others else []), *_split(text[found.end():])]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is not closed
        return text.split()


def _options(arguments: Sequence[str]) -> tuple[list[str], str]:
    """Python's options before a program, `-c` or `-m`, as they were given, and their letters."""
    taken: list[str] = []
    flags = ""
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        if word.startswith("--"):
            taken.append(word)
            if word == "--check-hash-based-pycs" and rest:
                taken.append(rest.pop(0))
            continue
        at = next((i for i, letter in enumerate(word) if letter in _WITH_VALUE + _LAST), len(word))
        flags += word[1:at]
        if word[at : at + 1] and word[at] in _LAST:
            if at > 1:
                taken.append(word[:at])
            break
        taken.append(word)
        if at == len(word) - 1 and rest:
            taken.append(rest.pop(0))
    return taken, flags


def lacks(package: str, interpreter: Interpreter, env: Mapping[str, str]) -> bool:
    """Whether that Python will certainly not find the package; False if it might."""
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
    """The folders of installed packages; none if they cannot be found from outside."""
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
    """The folders that .pth files add."""
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
