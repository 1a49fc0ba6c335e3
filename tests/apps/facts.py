"""What a program can see of itself, in JSON: to compare a run with and without something in front."""

import json
import os
import resource
import signal
import sys


def status(name):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name + ":"))


def descriptors():
    found = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found[name] = [os.readlink("/proc/self/fd/" + name), os.get_inheritable(int(name))]
        except OSError:
            continue
    return found


facts = {
    "parent": os.getppid(),
    "group": os.getpgrp(),
    "session": os.getsid(0),
    "cwd": os.getcwd(),
    "umask": status("Umask"),
    "ignored": status("SigIgn"),
    "blocked": status("SigBlk"),
    "pending": [status("SigPnd"), status("ShdPnd")],
    "descriptors": descriptors(),
    "environment": sorted(os.environ.items()),
    "argv": sys.argv,
    "path": sys.path,
    "flags": str(sys.flags),
    "sitecustomize": "sitecustomize" in sys.modules,
    "limits": [resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)],
    "sigint": str(signal.getsignal(signal.SIGINT)),
    "tty": [os.isatty(fd) for fd in (0, 1, 2)],
    "threads": status("Threads"),
    "stdin": sys.stdin.read() if len(sys.argv) > 1 and sys.argv[1] == "--stdin" else "",
}
print(json.dumps(facts))
