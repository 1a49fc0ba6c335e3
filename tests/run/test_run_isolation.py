"""Nothing of the app's reaches the launcher or the agent, and nothing of ours keeps the app from starting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import streamvitals
from run_support import RUN, environment, environment_of, eventually, python, started

SOURCE = str(Path(streamvitals.__file__).parents[1])
# What raises wherever it is imported: as an old version does that lacks what we ask of it.
BROKEN = "raise ImportError('this is the app\\'s, and old')\n"
OURS_NEED = ("click", "prometheus_client", "opentelemetry", "json", "socket", "typing_extensions", "http", "argparse")


def run(*arguments: str, env: dict[str, str], cwd: Path, command: tuple[str, ...] = RUN) -> tuple[int, str, str]:
    done = subprocess.run(
        [*command, "--port", "0", "--", *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A folder of the app's with modules named like all that we need, and that all raise."""
    folder = tmp_path / "vendor"
    for name in OURS_NEED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(BROKEN)
    return folder


def test_old_packages_on_the_apps_path(vendor: Path, server) -> None:
    env = environment(server.base_url, PYTHONPATH=str(vendor), STREAMVITALS_QUIET="true")
    with started(["/bin/sh", "-c", "read line"], env, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as app:
        health = app.wait_for_agent()
        assert app.samples()
        assert str(vendor) in environment_of(app.pid)["PYTHONPATH"]
        assert str(vendor) not in Path(f"/proc/{health['agent_pid']}/environ").read_text()
        assert app.process.communicate(b"\n")[1] == b""


def test_modules_named_like_standard_ones_in_the_working_folder(vendor: Path) -> None:
    command = (sys.executable, "-m", "streamvitals", "run")
    env = environment(STREAMVITALS_QUIET="true")
    assert run("/bin/echo", "ran", env=env, cwd=vendor, command=command) == (0, "ran\n", "")


def test_a_sitecustomize_of_the_apps_that_has_imported_its_packages(tmp_path: Path, vendor: Path) -> None:
    for name in ("click", "prometheus_client"):
        (vendor / name / "__init__.py").write_text("__version__ = 'old'\n")
    (vendor / "sitecustomize.py").write_text("import click, prometheus_client\n")
    env = environment(PYTHONPATH=str(vendor))
    with started(["/bin/sh", "-c", "read line"], env, stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        assert app.samples()
        app.process.communicate(b"\n")


def test_agent_does_not_run_what_its_environment_runs_at_start(tmp_path: Path) -> None:
    """A .pth file (coverage, Instana) is there for the app, and would announce the agent as one more service."""
    mark = tmp_path / "mark"
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    others = [entry for entry in sys.path if entry.endswith("site-packages")]
    (packages / "ours.pth").write_text("\n".join([SOURCE, *others]) + "\n")
    told = "os.environ.get('COVERAGE_PROCESS_START', '') + str(os.getpid()) + ' '"
    line = f"import os, sys; open({str(mark)!r}, 'a').write({told})"
    (packages / "announce.pth").write_text(line + "\n")
    command = (str(venv / "bin" / "python"), "-m", "streamvitals", "run")
    env = environment(COVERAGE_PROCESS_START="on ")
    with started(["/bin/sh", "-c", "read line"], env, run=command, stdin=subprocess.PIPE) as app:
        agent = app.wait_for_agent()["agent_pid"]
        assert app.samples()
        assert set(mark.read_text().split()) == {"on", str(app.pid)}  # the launcher's
        assert "COVERAGE" not in Path(f"/proc/{agent}/environ").read_text()
        app.process.communicate(b"\n")


def test_agent_keeps_a_handful_of_the_apps_variables() -> None:
    secret = {"OPENAI_API_KEY": "sk-secret", "DATABASE_URL": "secret", "HOME": "/secret", "LD_PRELOAD": ""}
    kept = {"OTEL_SERVICE_NAME": "chat", "https_proxy": "http://proxy:1", "TZ": "Asia/Tokyo"}
    python_only = {"PYTHONINSPECT": "1", "PYTHONSTARTUP": "/secret", "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}
    env = environment(**secret, **kept, **python_only)
    with started(["/bin/sh", "-c", "read line"], env, stdin=subprocess.PIPE) as app:
        agent = app.wait_for_agent()["agent_pid"]
        has = environment_of(agent)
        assert kept.items() <= has.items()
        assert not [value for value in has.values() if "secret" in value]
        assert not has.keys() & python_only.keys()
        app.process.communicate(b"\n")


def test_installed_by_pythonpath(tmp_path: Path) -> None:
    """`pip install --target`: what we need is in the app's path then, and found there."""
    (tmp_path / "json.py").write_text(BROKEN)
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    env = environment(PYTHONPATH=os.pathsep.join([str(tmp_path), SOURCE, *packages]))
    base = str(Path(sys.base_exec_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")
    command = (base, "-m", "streamvitals", "run")
    with started(["/bin/sh", "-c", "read line"], env, run=command, stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        assert app.samples()
        app.process.communicate(b"\n")


@pytest.mark.parametrize(
    "module",
    ["run/launch.py", "agent/private_directory.py", "run/command.py", "config/__init__.py", "system/console.py"],
)
def test_launcher_that_is_broken_starts_the_app(tmp_path: Path, module: str) -> None:
    """Half an upgrade, a damaged disk: one line, and the app."""
    copied = copy_of_ours(tmp_path)
    (copied / module).write_text("raise RuntimeError('damaged\\nhere')\n")
    command = (sys.executable, "-m", "streamvitals", "run")
    status, out, err = run(
        *python("-c", "import os; print('STREAMVITALS_DIR' in os.environ); raise SystemExit(3)"),
        env=environment(PYTHONPATH=str(tmp_path)), cwd=tmp_path, command=command,
    )
    assert (status, out) == (3, "False\n")
    assert err == "streamvitals: not watching this app: RuntimeError: damaged here\n"


def copy_of_ours(folder: Path) -> Path:
    copied = folder / "streamvitals"
    subprocess.run(["cp", "-r", str(Path(streamvitals.__file__).parent), str(copied)], check=True)
    return copied


@pytest.mark.parametrize(("module", "text", "why"), [
    ("sinks/prometheus.py", "raise ImportError('no such name')\n", "ImportError: no such name"),
    ("agent/http.py", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n", "it was ended by signal 11"),
    ("agent/http.py", "import os; os._exit(4)\n", "its exit status was 4"),
])
def test_agent_that_dies_before_it_serves_is_said_once_and_leaves_nothing(
    tmp_path: Path, module: str, text: str, why: str
) -> None:
    copied = copy_of_ours(tmp_path)
    (copied / module).write_text(text)
    env = environment(PYTHONPATH=str(tmp_path))
    command = (sys.executable, "-m", "streamvitals", "run")
    with started(
        ["/bin/sh", "-c", "read line"], env, run=command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as app:
        directory = app.directory()
        assert app.process.stderr is not None
        assert b"metrics are at" in app.process.stderr.readline()
        said = app.process.stderr.readline().decode()
        assert said == f"streamvitals: not watching this app: the agent ended before it served: {why}\n"
        eventually(lambda: not os.path.exists(directory))
        assert app.process.communicate(b"\n")[1] == b""
        assert app.process.returncode == 0


def test_from_an_archive(tmp_path: Path) -> None:
    """Where no app could load anything from: said, and the app is started."""
    (tmp_path / "app").mkdir()
    copy_of_ours(tmp_path / "app")
    (tmp_path / "app" / "__main__.py").write_text("from streamvitals.run.entry import main\nmain()\n")
    archive = str(tmp_path / "sv.pyz")
    subprocess.run([sys.executable, "-m", "zipapp", str(tmp_path / "app"), "-o", archive], check=True)
    status, out, err = run(
        "/bin/echo", "ran", env=environment(), cwd=tmp_path, command=(sys.executable, archive, "run")
    )
    assert (status, out) == (0, "ran\n")
    assert err.startswith("streamvitals: not watching this app: streamvitals is in an archive")


def test_from_a_folder_that_has_been_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
        "command = '-m streamvitals run --port 0 -- /bin/echo ran'.split();"
        "os.execv(sys.executable, [sys.executable, *command])"
    )
    done = subprocess.run(
        python("-c", code), env=environment(STREAMVITALS_QUIET="true"), cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("ran\n", "")


@pytest.mark.parametrize(("name", "value"), [
    ("PYTHONSAFEPATH", "1"), ("PYTHONINSPECT", "1"), ("PYTHONSTARTUP", "/nowhere"), ("PYTHONWARNINGS", "error"),
    ("PYTHONDEVMODE", "1"), ("PYTHONHOME", sys.base_prefix), ("PYTHONPATH", os.path.dirname(os.__file__)),
])
def test_variables_of_the_interpreter(name: str, value: str) -> None:
    with started(["/bin/sh", "-c", "read line"], environment(**{name: value}), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        assert app.samples()
        assert environment_of(app.pid)[name].endswith(value)
        app.process.communicate(b"\n")


def test_what_the_app_closes_early_is_closed(tmp_path: Path) -> None:
    """Whoever waits for the agent holds neither the app's output nor, once the app is gone, its stderr."""
    copied = copy_of_ours(tmp_path)
    (copied / "agent" / "http.py").write_text("import time; time.sleep(300)\n")
    status, out, err = run(
        "/bin/echo", "ran", env=environment(PYTHONPATH=str(tmp_path), STREAMVITALS_QUIET="true"), cwd=tmp_path,
        command=(sys.executable, "-m", "streamvitals", "run"),
    )
    assert (status, out, err) == (0, "ran\n", "")
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(tmp_path).encode() in process.read_bytes():
                os.kill(int(process.parent.name), 9)
        except OSError:
            continue
