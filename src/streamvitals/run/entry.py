"""Starts the command `streamvitals`, with an import path of its own; nothing here can stop an app from starting.

PYTHONPATH, the working folder and the user's packages are the app's. They are on this interpreter's path too, and may
contain old versions of what we need, or files named like standard modules. Until they are removed from the path, only
modules that every interpreter has loaded anyway are imported here; `run` needs no third-party package at all.
"""

from __future__ import annotations

import os
import sys

# The folder (or the archive) that holds our package.
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> None:
    """Run the console script."""
    arguments = sys.argv[1:]
    try:
        own_import_path()
    except Exception as error:  # noqa: BLE001  then it is the path that it was
        _say(f"{type(error).__name__}: {error}")
    if arguments[:1] == ["run"]:
        asked = parse_run(arguments[1:])
        if asked is not None:
            run(*asked)
    # Everything else, including `run --help` and mistakes in the options of `run`.
    from ..cli import main as commands

    try:
        commands(prog_name="streamvitals")
    except OSError as error:  # stdout is full, say
        _say(f"{error.strerror or error}")
        _drop_output()
        sys.exit(1)


def _drop_output() -> None:
    """Have the interpreter's last flush of stdout succeed, which would fail as the one before did."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)


def run(host: str | None, port: int | None, command: tuple[str, ...], web_config: str | None = None) -> None:
    """Start the agent and become the command; if anything of ours fails, still become the command."""
    try:
        from . import launch

        launch.run_command(host, port, command, web_config)
    except Exception as error:  # noqa: BLE001  whatever it is, the app starts
        if os.environ.get("STREAMVITALS_QUIET", "").strip().lower() != "true":
            _say(f"not watching this app: {type(error).__name__}: {error}".replace("\n", " "))
        _become(command)


def parse_run(arguments: list[str]) -> tuple[str | None, int | None, tuple[str, ...], str | None] | None:
    """Parse the options of `run` into host, port, command and the file of --web-config.

    None if there is anything else, which the full command line parser then handles.
    """
    given: dict[str, str] = {}
    port: int | None = None
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        if option == "--" and not equals:
            break
        if option not in ("--host", "--port", "--web-config") or not (equals or rest):
            return None
        if not equals:
            value = rest.pop(0)
        if option != "--port":
            given[option] = value
        elif value.isascii() and value.isdigit() and len(value) < 6 and int(value) < 65536:
            port = int(value)
        else:
            return None
    return (given.get("--host"), port, tuple(rest), given.get("--web-config")) if rest else None


def own_import_path() -> None:
    """Remove the app's folders from `sys.path`, and modules that came from them from `sys.modules`."""
    before = list(sys.path)
    sys.path[:] = path_without(before, foreign(before))
    gone = {entry for entry in before if entry not in sys.path}
    for name, module in list(sys.modules.items()):
        # A sitecustomize of the app may have run by now, and the modules that it imported are loaded.
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name != "__main__" and any(_lies_in(file, entry) for entry in gone):
            del sys.modules[name]


def path_without(path: list[str], others: list[str]) -> list[str]:
    """Make an import path of our own, without the entries in ``others``.

    The rest keeps its order. If we are installed in one of the others, our folder follows, then they do, since what
    we need may be in any of them. The user's packages are last, for what is nowhere else.
    """
    own = [entry for entry in path if entry not in others]
    if HOME not in own:
        own += [HOME, *others] if HOME in others else [HOME]
    return list(dict.fromkeys([*own, *(entry for entry in others if entry == _user_packages())]))


def foreign(path: list[str]) -> list[str]:
    """The entries that are the app's: PYTHONPATH, the script's or working folder, the user's packages."""
    found = [_user_packages()]
    theirs = os.environ.get("PYTHONPATH", "")
    if theirs and not sys.flags.ignore_environment:
        found += [os.path.normpath(os.path.join(_working_folder(), entry)) for entry in theirs.split(os.pathsep)]
    if path and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        # `python -m` puts the working folder first, and a script its own folder.
        found += [path[0]] if path[0] in ("", _working_folder(), os.path.dirname(os.path.realpath(sys.argv[0]))) else []
    site = sys.modules.get("site")
    needed = _standard() | set(getattr(site, "getsitepackages", list)())
    return [entry for entry in dict.fromkeys(found) if entry in path and entry not in needed]


def _user_packages() -> str:
    return getattr(sys.modules.get("site"), "USER_SITE", None) or ""


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder has been removed
        return ""


def _standard() -> set[str]:
    library = os.path.dirname(os.path.abspath(os.__file__))
    return {library, os.path.join(library, "lib-dynload")}


def _lies_in(file: str, folder: str) -> bool:
    folder = os.path.abspath(folder)
    return file.startswith(folder.rstrip(os.sep) + os.sep) and not file.startswith(os.path.join(HOME, "streamvitals"))


def _say(text: str) -> None:
    if sys.stderr is None:  # descriptor 2 was closed, and may by now be anything
        return
    try:
        from ..system.console import say

        say(text)
    except Exception:  # noqa: BLE001  that is one of ours too
        os.write(2, f"streamvitals: {text}\n".encode(errors="replace"))


def _become(command: tuple[str, ...]) -> None:
    """Exec the command as a last resort, when not even our own modules can be imported."""
    try:
        import signal

        # The signals that Python ignores from its start.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    except Exception as error:  # noqa: BLE001
        _say(f"{type(error).__name__}: {error}")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        _say(f"{command[0]}: {error.strerror}")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)
