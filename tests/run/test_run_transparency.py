"""A program cannot tell, but for two variables, whether `streamvitals run` stood in front of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from run_support import (
    APPS,
    PACKAGES,
    RUN,
    environment,
    eventually,
    everybodys_python,
    free_port,
    only_root,
    python,
    started,
)
from terminal_support import Screen, in_a_terminal

INJECT = os.path.join("streamvitals", "startup", "inject")


def facts(command: list[str], env: Mapping[str, str], prefix: tuple[str, ...] = (), **popen: Any) -> dict[str, Any]:
    """What the program sees."""
    stdout = subprocess.run(
        [*prefix, *command], env=dict(env), stdout=subprocess.PIPE, check=True, **popen
    ).stdout
    return dict(json.loads(stdout))


def run_prefix() -> tuple[str, ...]:
    return (*RUN, "--port", str(free_port()), "--")


def compare(env: Mapping[str, str], *arguments: str, **popen: Any) -> None:
    command = python(str(APPS / "facts.py"), *arguments)
    bare = facts(command, env, **popen)
    watched = facts(command, env, run_prefix(), **popen)
    added = dict(map(tuple, watched["environment"]))
    directory = added.pop("STREAMVITALS_DIR")
    assert "/streamvitals-" in directory
    before = dict(map(tuple, bare["environment"]))
    inject, _, rest = added.pop("PYTHONPATH").partition(os.pathsep)
    assert inject.endswith(INJECT)
    assert rest == before.pop("PYTHONPATH", "")
    assert added == before
    for seen in (bare, watched):
        seen.pop("environment")
        # Pipes and the like have other numbers each time; what kind they are is the same.
        for at, (target, inheritable) in seen["descriptors"].items():
            seen["descriptors"][at] = (target.partition(":")[0].partition("/proc")[0], inheritable)
    assert watched == bare


@pytest.mark.parametrize("pythonpath", [None, "", "/nowhere", "/nowhere:", ":", "{apps}"])
def test_same_view(pythonpath):
    env = environment()
    if pythonpath is not None:
        env["PYTHONPATH"] = pythonpath.format(apps=APPS)
    compare(env)


def test_same_view_in_the_c_locale():
    # Python itself sets LC_CTYPE there, for itself and whatever it starts (PEP 538).
    env = {**environment(), "LC_ALL": "", "LANG": "C"}
    command = ["/usr/bin/env"]
    bare = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout.split(b"\n")
    watched = subprocess.run(
        [*run_prefix(), *command], env=env, stdout=subprocess.PIPE, check=True
    ).stdout.split(b"\n")
    assert [w for w in watched if not w.startswith((b"PYTHONPATH=", b"STREAMVITALS_DIR="))] == bare


def test_same_view_of_odd_beginnings():
    """Signals ignored and blocked, a umask, an additional descriptor, another folder, a pipe on stdin."""

    def odd() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGUSR2})
        os.umask(0o027)

    reader, writer = os.pipe()
    try:
        compare(environment(), "--stdin", input=b"in a pipe", preexec_fn=odd, pass_fds=(writer,), cwd="/")
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors_stay_closed(tmp_path, closed):
    out = tmp_path / "out"
    code = f"import os; print(sorted(os.listdir('/proc/self/fd'), key=int), file=open({str(out)!r}, 'w'))"

    def close() -> None:
        for fd in closed:
            os.close(fd)

    seen = []
    for prefix in ((), run_prefix()):
        subprocess.run([*prefix, *python("-c", code)], env=environment(), preexec_fn=close, check=True)
        seen.append(out.read_text())
    assert seen[0] == seen[1]


@pytest.mark.parametrize("ignored", [(), ("PIPE",), ("PIPE", "XFSZ", "HUP")])
def test_ignored_signals_of_a_program_that_is_no_python(ignored):
    """What a shell ignores its programs ignore; Python's own start must not show."""
    trap = "".join(f"trap '' {name}; " for name in ignored)
    line = trap + "{} grep -E 'Sig(Ign|Blk)' /proc/self/status; :"
    seen = [
        subprocess.run(
            ["/bin/sh", "-c", line.format(" ".join(prefix))], env=environment(), stdout=subprocess.PIPE, check=True
        ).stdout
        for prefix in ((), run_prefix())
    ]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", ["supervisord", "starter"])
def test_ignored_signals_below_a_python_that_forks_and_execs(tmp_path, name):
    """supervisord hands on what Python ignores. Of others that is not known: most give the default back."""
    script = tmp_path / name
    script.write_text(
        "import os, signal, sys\n"
        "if sys.argv[1] == 'default':\n    signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "if os.fork() == 0:\n    os.execvp(sys.argv[2], sys.argv[2:])\n"
        "sys.exit(os.wait()[1])\n"
    )
    how = "ignored" if name == "supervisord" else "default"
    seen = [
        subprocess.run(
            python("-W", "ignore", str(script), how, *prefix, "grep", "SigIgn", "/proc/self/status"),
            env=environment(), stdout=subprocess.PIPE, check=True,
        ).stdout
        for prefix in ((), run_prefix())
    ]
    assert mask(seen[0]) & PIPE == mask(seen[1]) & PIPE == (PIPE if how == "ignored" else 0)


PIPE = 1 << (signal.SIGPIPE - 1)


def mask(line: bytes) -> int:
    return int(line.split()[1], 16)


@only_root
@pytest.mark.parametrize("trap", ["", "trap '' PIPE; "])
def test_ignored_signals_below_another_user(trap):
    """`sudo -u app`, a service manager: what such a parent runs is not for us to see, what it ignores is."""
    prefix = " ".join([everybodys_python(), "-m", "streamvitals", "run", "--port", "0", "--"])
    line = trap + "setpriv --reuid=65534 --regid=65534 --clear-groups {} grep SigIgn /proc/self/status; :"
    seen = [
        subprocess.run(
            ["/bin/sh", "-c", line.format(before)], env=environment(PYTHONPATH=PACKAGES), stdout=subprocess.PIPE,
            check=True, cwd="/",
        ).stdout
        for before in ("", prefix)
    ]
    assert seen[0] == seen[1]


def test_process_substitution():
    line = f"{' '.join(run_prefix())} cat <(echo through a descriptor)"
    env = environment(STREAMVITALS_QUIET="true")
    done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"through a descriptor\n", b"")


@pytest.mark.parametrize("status", [0, 3, 255])
def test_exit_status(status):
    with started(python("-c", f"raise SystemExit({status})"), environment()) as app:
        assert app.process.wait() == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGPIPE])
def test_death_by_signal(number):
    with started(["/bin/sh", "-c", f"kill -{int(number)} $$"], environment()) as app:
        assert app.process.wait() == -number


def test_output_is_the_apps_alone():
    with started(
        python("-c", "import sys; print('out'); print('err', file=sys.stderr)"),
        environment(STREAMVITALS_QUIET="true"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as app:
        assert app.process.communicate() == (b"out\n", b"err\n")


def test_no_child_and_no_descriptor_of_ours_in_the_app():
    code = (
        "import os; pid = str(os.getpid());"
        "print(open(f'/proc/{pid}/task/{pid}/children').read().split());"
        "print([os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd')"
        " if os.path.exists('/proc/self/fd/' + fd)])"
    )
    with started(python("-c", code), environment(), stdout=subprocess.PIPE) as app:
        children, descriptors = app.process.communicate()[0].decode().splitlines()
        assert children == "[]"
        assert "socket" not in descriptors
        assert "streamvitals" not in descriptors


def test_agent_holds_nothing_of_the_app(tmp_path):
    file = tmp_path / "held"
    with open(file, "w") as held, started(
        python("-c", "input()"), environment(), stdin=subprocess.PIPE, stdout=held, pass_fds=(held.fileno(),),
        cwd=tmp_path,
    ) as app:
        agent = app.wait_for_agent()["agent_pid"]
        targets = []
        for fd in os.listdir(f"/proc/{agent}/fd"):
            with contextlib.suppress(FileNotFoundError):  # it reads files of its own meanwhile
                targets.append(os.readlink(f"/proc/{agent}/fd/{fd}"))
        assert len(targets) > 3
        assert str(file) not in targets
        assert os.readlink(f"/proc/{agent}/cwd") == "/"
        assert [os.readlink(f"/proc/{agent}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
        assert os.getsid(agent) != os.getsid(app.pid)
        assert b"input()" not in Path(f"/proc/{agent}/cmdline").read_bytes()


def test_one_interrupt_for_one_ctrl_c():
    code = (
        "import signal, time\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "print('ready', flush=True)\n"
        "while not seen: time.sleep(0.01)\n"
        "signal.alarm(1); signal.signal(signal.SIGALRM, lambda *_: None); signal.pause()\n"
        "print('seen', len(seen), flush=True)\n"
    )
    with in_a_terminal([*run_prefix(), *python("-c", code)], environment()) as (_, fd):
        screen = Screen(fd)
        eventually(lambda: screen.shows("ready"))
        os.write(fd, b"\x03")
        eventually(lambda: screen.shows("seen"))
        eventually(lambda: screen.shows("\n"))
        assert "seen 1" in screen.text


def test_url_is_said_on_a_terminal():
    port = free_port()
    with in_a_terminal([*RUN, "--port", str(port), *python("-c", "input()")], environment()) as (_, fd):
        screen = Screen(fd)
        eventually(lambda: screen.shows(f", metrics are at http://localhost:{port}/metrics\r\n"))


def test_job_control(tmp_path):
    """Ctrl-Z stops the app, and the shell has it go on in the foreground, reading from the terminal."""
    code = "print('re' + 'ady', flush=True); print('got', input(), flush=True)"
    command = " ".join([*run_prefix(), sys.executable, "-c", f'"{code}"'])
    with in_a_terminal(["bash", "--norc", "-i"], environment(PS1="$ ", TERM="dumb")) as (_, fd):
        screen = Screen(fd)
        os.write(fd, command.encode() + b"\n")
        eventually(lambda: screen.shows("ready"))
        os.write(fd, b"\x1a")
        eventually(lambda: screen.shows("Stopped"))
        os.write(fd, b"fg\n")
        os.write(fd, b"a line\n")
        eventually(lambda: screen.shows("got a line"))


def test_debugger_in_a_terminal(tmp_path):
    script = tmp_path / "debugged.py"
    script.write_text("value = 41\nbreakpoint()\nprint('after', value)\n")
    with in_a_terminal([*run_prefix(), *python(str(script))], environment(TERM="dumb")) as (_, fd):
        screen = Screen(fd)
        eventually(lambda: screen.shows("(Pdb)"))
        os.write(fd, b"value + 1\n")
        eventually(lambda: screen.shows("42"))
        os.write(fd, b"continue\n")
        eventually(lambda: screen.shows("after 41"))
