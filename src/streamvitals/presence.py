"""How a process says that it is there: one small file `<pid>-<starttime>.proc` in the private directory.

Standard library only, and only `os` of it: loaded at the start of every Python under `streamvitals run`, by
its path and under a private name, before and instead of the package.

A pid alone does not name a process, pids are used again; with the start time it does, also across exec
(field 22 of /proc/<pid>/stat, in clock ticks since boot, proc(5)). The file's first word tells the programs
apart that follow each other in one process by exec: the address of the stack (field 28), another in each.
"""

import os

SUFFIX = ".proc"
# The second word: `streamvitals run` before it becomes the app, a Python that starts, one that was forked,
# one in which openai could not be patched.
RUN, PYTHON, FORK, FAULT = "run", "python", "fork", "fault"

_directory = ""


def register(directory: str, what: str) -> bool:
    """Say that this process is there; False where the directory is gone or not ours to write to."""
    try:
        # The pid is taken from there too: /proc may be that of an outer pid namespace, which is the agent's.
        pid, start, image = _self()
        try:
            _write(f"{directory}/{pid}-{start}{SUFFIX}", f"{image} {what}")
        except PermissionError:
            # It was root when it wrote that, and is somebody else now.
            _write(f"{directory}/{pid}-{start}.{os.geteuid()}{SUFFIX}", f"{image} {what}")
    except (OSError, ValueError, IndexError):
        return False
    return True


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _self() -> tuple[str, str, str]:
    fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, 4096).decode("latin-1")
    finally:
        os.close(fd)
    # The command's name is in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return text[: text.index(" ")], fields[19], fields[25]


def announce(directory: str, version: str) -> bool:
    """Register this Python, and from now on every child it forks; False where nobody is there to read it."""
    global _directory
    if not register(directory, f"{PYTHON} {version}"):
        return False
    if not _directory:
        os.register_at_fork(after_in_child=_after_fork)
    _directory = directory
    return True


def report_fault(error: BaseException) -> None:
    """Leave word for the agent that this process could not be patched: the class of the error, no text."""
    if _directory:
        register(_directory, f"{FAULT} {type(error).__name__}")


def _after_fork() -> None:
    register(_directory, FORK)
