"""Registers a process with the agent, as an empty file in the private directory whose name says everything.

Standard library only, and only `os` of it: loaded at the start of every Python under `streamvitals run`, by
its path and under a private name, before and instead of the package.

The name is `<pid>-<starttime>.<image>.<kind>[.<detail>].proc`. A pid alone does not name a process, pids are
used again; with the start time it does, also across exec (field 22 of /proc/<pid>/stat, in clock ticks since
boot, proc(5)). The image tells the programs apart that follow each other in one process by exec: the address
of the stack (field 28), another in each. No file is ever opened that is there already, and none has content:
strangers may write to the directory, and the file system may be full.
"""

import os

PREFIX = "streamvitals-"
SUFFIX = ".proc"
# The kinds: `streamvitals run` before it becomes the app, a Python that starts, one that was forked, one in
# which openai could not be patched, one that found no memory that the agent can see, one in which something else
# that was asked for does not work.
RUN, PYTHON, FORK, FAULT, UNSEEN, PROBLEM = "run", "python", "fork", "fault", "unseen", "problem"
# In the agent's own folder: what it holds locked while it lives, and a link to a second directory.
READER, RESERVE = "agent.reader", "agent.reserve"
# How large a directory (its st_size, about 20 bytes per name on a tmpfs) may become, and how much larger than
# it was when its agent died: so that nothing grows for ever, whatever happens.
_MOST, _MOST_UNREAD = 131072, 1280

_directory = ""


def home(directory: str) -> str:
    """The folder for the agent's own files: around a directory that others may write to, else itself."""
    outer = os.path.dirname(directory)
    return outer if os.path.basename(outer).startswith(PREFIX) else directory


def may_grow(directory: str) -> bool:
    """Whether another file may be left there: it is read, and has room. Raises OSError."""
    size = os.stat(directory).st_size
    return size <= min(_MOST, _size_at_death(directory) + _MOST_UNREAD)


def _size_at_death(directory: str) -> int:
    """The size of the directory when its agent died; a huge one while it lives, or in doubt."""
    try:
        fd = os.open(f"{home(directory)}/{READER}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.lockf(fd, os.F_TEST, 0)  # an error while the agent has it locked
            return int(os.read(fd, 32))
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return _MOST


def reserve(directory: str) -> "str | None":
    """A second directory of the same agent, on another file system, if there is one."""
    try:
        return os.readlink(f"{home(directory)}/{RESERVE}")
    except OSError:
        return None


def register(directory: str, kind: str, detail: str = "") -> bool:
    """Register this process; False where nobody reads it, or there is no room. Never raises."""
    try:
        # The pid is taken from there too: /proc may be that of an outer pid namespace, which is the agent's.
        pid, start, image = _self()
        name = f"{pid}-{start}.{image}.{kind}" + (f".{detail}" if detail else "")
        if not may_grow(directory):
            return False
        other = None
        return _leave(directory, name) or ((other := reserve(directory)) is not None and _leave(other, name))
    except Exception:  # noqa: BLE001  the app starts, and forks, all the same
        return False


def _leave(directory: str, name: str) -> bool:
    # A stranger may have taken the name, to silence this process: then a longer one.
    for _ in range(4):
        path = f"{directory}/{name}{SUFFIX}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            return True
        except FileExistsError:
            found = os.lstat(path)
            if found.st_uid == os.geteuid() and found.st_mode & 0o170000 == 0o100000:
                # Of this process: it comes back to what it ran before.
                os.utime(path, follow_symlinks=False)
                return True
            name += "." + os.urandom(8).hex()
        except OSError:
            return False
    return False


def _self() -> "tuple[str, int, str]":
    text = _read("/proc/self/stat")
    # The command's name is in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return text[: text.index(" ")], int(fields[19]) - boot_offset(), fields[25]


def boot_offset() -> int:
    """The ticks that a time namespace adds to start times (time_namespaces(7)): each has its own."""
    try:
        for line in _read("/proc/self/timens_offsets").splitlines():
            clock, seconds, nanoseconds = line.split()
            if clock in ("boottime", "7"):
                return (int(seconds) * 10**9 + int(nanoseconds)) * os.sysconf("SC_CLK_TCK") // 10**9
    except (OSError, ValueError):  # a kernel without, or none to be seen
        pass
    return 0


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode("latin-1")
    finally:
        os.close(fd)


def announce(directory: str) -> bool:
    """Register this Python, and from now on every child that it forks; False where no agent reads it."""
    global _directory
    if not register(directory, PYTHON):
        return False
    if not _directory:
        os.register_at_fork(after_in_child=_after_fork)
    _directory = directory
    return True


def report_fault(error: BaseException) -> None:
    """Report to the agent that this process could not be patched: the error's class, no text."""
    if _directory:
        register(_directory, FAULT, type(error).__name__[:60])


def report_problems(words: "list[str]") -> None:
    """Report to the agent what does not work here, in the words of config/problems.py."""
    if _directory and words:
        register(_directory, PROBLEM, "-".join(words))


def _after_fork() -> None:
    register(_directory, FORK)
