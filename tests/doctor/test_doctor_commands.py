"""What `doctor` says of a command: through options, first lines and whatever stands in front of a Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from doctor_support import doctor
from run_support import RUN, environment, python, started
from streamvitals.doctor.check import FAIL, OK, WARN
from streamvitals.run.interpreter import of_python


@pytest.mark.parametrize(("arguments", "options", "flags", "program"), [
    (["app.py", "-I"], (), "", "app.py"),
    (["-X", "dev", "-I", "app.py"], ("-X", "dev", "-I"), "I", "app.py"),
    (["-Xdev", "-sE", "app.py"], ("-Xdev", "-sE"), "sE", "app.py"),
    (["-W", "I", "app.py"], ("-W", "I"), "", "app.py"),
    (["-bW", "S", "-u", "app.py"], ("-bW", "S", "-u"), "bu", "app.py"),
    (["-IB", "app.py"], ("-IB",), "IB", "app.py"),
    (["-c", "-I"], (), "", ""),
    (["-Ic", "pass", "-S"], ("-I",), "I", ""),
    (["-Bm", "mod", "-E"], ("-B",), "B", ""),
    (["--check-hash-based-pycs", "always", "-E", "app.py"], ("--check-hash-based-pycs", "always", "-E"), "E", "app.py"),
    (["-u", "--", "app.py"], ("-u",), "u", "app.py"),
    (["-"], (), "", "-"),
    (["-X"], ("-X",), "", ""),
    ([], (), "", ""),
])
def test_options_of_python(arguments, options, flags, program):
    found = of_python("/python", arguments)
    assert (found.options, found.flags) == (options, flags)
    if "-c" not in arguments and not any(a.endswith(("c", "m")) for a in arguments if a[:1] == "-" != a[:2]):
        assert found.program == program


@pytest.mark.parametrize(("options", "letter"), [
    (("-X", "dev", "-I"), "-I"), (("-W", "ignore", "-E"), "-E"), (("-sS",), "-S"), (("-Ic", "pass"), "-I"),
])
def test_options_that_keep_us_out(options, letter):
    found = doctor("--", *python(*options, "app.py"))
    assert f"is not watched: {letter} keeps it out" in found.find("keeps it out")["what"]


@pytest.mark.parametrize("options", [("-X", "dev"), ("-W", "ignore"), ("-Bu",), ("-c", "pass"), ("-m", "this")])
def test_options_that_do_not(options):
    assert doctor("--", *python(*options, "app.py")).find("is watched")["status"] == OK


def script(folder: Path, name: str, text: str, mode: int = 0o755) -> str:
    path = folder / name
    path.write_text(text.replace("{python}", sys.executable))
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(("line", "watched"), [
    ("#!/usr/bin/env -S {python} -u", True), ("#!/usr/bin/env -S {python} -I", False),
    ("#!/usr/bin/env -S {python} -X dev -E", False), ("#!/usr/bin/env -S -i {python}", False),
    ("#! {python}", True), ("#!{python} -sE", False), ("#!/usr/bin/env {python}", True),
])
def test_first_lines(tmp_path, line, watched):
    found = doctor(script(tmp_path, "tool", line + "\n"))
    assert ("is not watched" not in found.find("watched")["what"]) == watched


@pytest.mark.parametrize("text", ["#!", "#!\n", "#! \n", "#!/usr/bin/env -S {python} 'x\n", "#!\0\n", "", "\xff" * 600])
def test_a_first_line_that_is_none_is_no_traceback(tmp_path, text):
    found = doctor(script(tmp_path, "tool", text))
    assert "Traceback" not in found.text


def test_a_program_that_cannot_be_read_is_said_to_be_one(tmp_path):
    path = script(tmp_path, "tool", "#!{python}\n", 0o711)
    command = [RUN[0], "doctor", path]
    if os.geteuid() == 0:
        # The package may be where nobody else can read.
        from streamvitals.doctor import command as module

        real = os.access
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "access", lambda p, mode, **more: mode != os.R_OK and real(p, mode, **more))
            (check,) = module.find_interpreter([path], os.environ)
        assert "cannot be read" in str(check)
    else:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert "cannot be read" in done.stdout


# As elasticapm-run: its sitecustomize stands in front and imports no other.
NOT_CHAINING = """#!{python}
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
os.environ["PYTHONPATH"] = here + os.pathsep + os.environ.get("PYTHONPATH", "")
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_launcher_is_asked_by_running_python_through_it(tmp_path):
    launcher = script(tmp_path, "elasticapm-run", NOT_CHAINING)
    (tmp_path / "sitecustomize.py").write_text("")
    found = doctor(launcher, *python("app.py"))
    assert f"{tmp_path}/sitecustomize.py stands in front" in found.find("is not watched")["what"]
    (tmp_path / "sitecustomize.py").unlink()
    assert doctor(launcher, *python("app.py")).find("is watched")["status"] == OK
    assert doctor(launcher, script(tmp_path, "tool", "#!{python}\n")).find("is watched")["status"] == OK


def test_what_replaces_pythonpath_is_said_to(tmp_path):
    launcher = script(tmp_path, "ddtrace-run", "#!/bin/sh\nPYTHONPATH=/nowhere exec \"$@\"\n")
    assert "PYTHONPATH was replaced" in doctor(launcher, *python("app.py")).find("is not watched")["what"]


@pytest.mark.parametrize(("before", "part", "status"), [
    (("env", "A=b"), "is watched", OK), (("env", "-i"), "env clears the environment", FAIL),
    (("env", "-u", "STREAMVITALS_DIR"), "env clears the environment", FAIL),
    (("nice", "-n", "1"), "is watched", OK), (("nohup",), "is watched", OK),
    (("timeout", "-s", "KILL", "60"), "is watched", OK), (("env", "A=b", "nice", "nohup"), "is watched", OK),
    (("sudo",), "sudo clears the environment", FAIL), (("sudo", "-E"), "is not known", WARN),
    (("sudo", "--preserve-env=PYTHONPATH,STREAMVITALS_DIR"), "is not known", WARN),
    (("docker", "run", "image"), "in another place", FAIL), (("ssh", "host"), "in another place", FAIL),
    (("nice", "make", "run"), "is not known", WARN), (("nice", "docker", "run"), "in another place", FAIL),
])
def test_what_stands_in_front(tmp_path, before, part, status):
    for name in {"docker", "make"} & set(before):
        script(tmp_path, name, "#!/bin/sh\n")
    found = doctor("--", *before, *python("app.py"), PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert found.find(part)["status"] == status


@pytest.mark.parametrize("arguments", [
    ("app.py",), ("python", "app.py"), ("-m", "app"), ("--with", "openai", "app.py"), ("-p", "python3.12", "app.py"),
    ("gunicorn", "app"), ("--", "gunicorn"),
])
def test_a_python_that_only_a_launcher_knows_is_asked_through_it(tmp_path, arguments):
    """`uv run`, which takes an option's value, changes the folder and starts its own python."""
    script(tmp_path, "uv", f"""#!{sys.executable}
import os, sys
args = sys.argv[2:]
while args and args[0][0] == "-" and args[0] not in ("-m", "--"):
    del args[:2]
if args[0] == "--":
    del args[0]
assert args[0] == "python", args
os.environ["FROM_UV"] = "1"
os.execv(sys.executable, [sys.executable, *args[1:]])
""")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    found = doctor("--", "uv", "run", *arguments, PATH=path, VIRTUAL_ENV="/made")
    assert found.find("is watched")["status"] == OK


def test_no_environment_is_made_only_to_look_at_it(tmp_path, monkeypatch):
    mark = tmp_path / "made"
    script(tmp_path, "uv", f"#!/bin/sh\ntouch {mark}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert doctor("--", "uv", "run", "app.py", PATH=path).find("what Python uv starts")["status"] == WARN
    assert not mark.exists()
    # Nor does one that does not answer count as a fault of the app's.
    (tmp_path / ".venv").mkdir()
    assert doctor("--", "uv", "run", "app.py", PATH=path).find("what Python uv starts")["status"] == WARN


@pytest.mark.parametrize("tool", ["pipx", "hatch", "pipenv", "tox"])
def test_of_a_python_that_would_be_installed_nothing_is_claimed(tmp_path, tool):
    """Its own first line names a Python, which is not the app's."""
    found = doctor(script(tmp_path, tool, "#!{python}\n"), "run", "app")
    assert found.find(f"what Python {tool} starts")["status"] == WARN
    assert not any("watched" in check["what"] for check in found.checks)


PROXY = "http://127.0.0.1:9"


def test_a_proxy_does_not_stand_before_an_agent_on_this_machine():
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"), PROXY)
    with started(python("-c", "input()"), environment(), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        by_name = app.url.replace("127.0.0.1", "localhost")
        for where in (("--url", app.url), ("--url", by_name), ("--dir", app.directory())):
            found = doctor(*where, **proxies, NO_PROXY="")
            assert found.find("agent ")["status"] == OK
        app.process.communicate(b"\n")


@pytest.mark.parametrize(("proxy", "parts"), [
    ("socks5://127.0.0.1:9", ("SOCKS proxy", "not reached through the proxy", "refuses", "cannot be connected")),
    ("nonsense://127.0.0.1:9", ("httpx takes no such proxy",)),
])
def test_a_proxy_that_the_sdk_cannot_use_is_not_a_missing_key(proxy, parts):
    found = doctor("--connect", "--timeout", "2", ALL_PROXY=proxy, OPENAI_BASE_URL="http://192.0.2.1/v1")
    assert any(part in check["what"] for check in found.checks for part in parts), found.text
    assert "OPENAI_API_KEY" not in found.text
