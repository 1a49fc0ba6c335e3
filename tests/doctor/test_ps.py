"""`streamvitals ps`: agents that run, agents that were killed, other users', and none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from run_support import RUN, environment, eventually, python, started
from streamvitals import cli
from streamvitals.agent import private_directory, proc
from streamvitals.agent.proc import Identity
from streamvitals.agent.protocol import FOLDER, OPTIONS, VARIABLE
from streamvitals.doctor import agents
from streamvitals.startup.registration import home


def listed() -> tuple[list[dict[str, Any]], str]:
    """What it prints for programs and for people."""
    done = [
        subprocess.run([RUN[0], "ps", *options], env=environment(), capture_output=True, text=True, check=True)
        for options in (["--json"], [])
    ]
    return json.loads(done[0].stdout), done[1].stdout


def test_agents_are_listed_with_what_they_watch_and_killed_ones_with_what_they_left() -> None:
    code = "import openai, sys; sys.stdin.readline()"
    env = environment()
    with (
        started(python("-c", code, "sk-secret"), env, stdin=subprocess.PIPE) as well,
        started(python("-c", code), {**env, "STREAMVITALS_STALL_SECONDS": "5s"}, stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL) as degraded,
        started(python("-c", code), env, stdin=subprocess.PIPE) as killed,
    ):
        apps = (well, degraded, killed)
        agents_of = [int(app.wait_for_agent()["agent_pid"]) for app in apps]
        for app in apps:
            eventually(lambda app=app: app.health()["sdk"], "a file that counts")
        directory = killed.directory()
        os.kill(agents_of[2], signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{agents_of[2]}").exists(), "its end")
        rows, text = listed()
        by_pid = {row["pid"]: row for row in rows if row["pid"] is not None}
        for app, agent, state in ((well, agents_of[0], "ok"), (degraded, agents_of[1], "degraded")):
            row = by_pid[app.pid]
            assert row["url"] == f"http://localhost:{app.port}/metrics"
            assert (row["agent_pid"], row["state"]) == (agent, state)
            assert row["app"] == f"{Path(python()[0]).name} -c"
            assert row["directory"] == app.directory()
            assert f"{row['url']}  {app.pid}" in text
        (gone,) = [row for row in rows if row["directory"] == directory]
        assert (gone["state"], gone["url"], gone["agent_pid"]) == ("gone", "", None)
        assert killed.pid not in by_pid
        assert text.startswith("URL ")
        assert "sk-secret" not in text
        assert "an agent is gone; what it had counted: streamvitals agent --dir /" in text
        for app in apps:
            app.process.communicate(b"\n")
    private_directory.remove(directory)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[list[bytes], bytes | None]]:
    """Processes with their command lines and environments, which are all that there are."""
    found: dict[int, tuple[list[bytes], bytes | None]] = {}

    def arguments(pid: int) -> list[bytes]:
        if pid not in found:
            raise ProcessLookupError
        return found[pid][0]

    monkeypatch.setattr(proc, "pids", lambda: [*found, 4_000_000])
    monkeypatch.setattr(proc, "arguments", arguments)
    monkeypatch.setattr(proc, "environment", lambda pid: found[pid][1])
    monkeypatch.setattr(agents.handover, "directories", lambda _: iter(()))
    return found


AGENT = [*map(os.fsencode, ("python", *OPTIONS, FOLDER)), b""]


def started_with(**start: object) -> bytes:
    return f"\0PATH=/bin\0{VARIABLE}={json.dumps(start)}\0".encode()


def test_another_users_agent_is_there_and_nothing_of_it_is_followed(
    process: dict[int, tuple[list[bytes], bytes | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object, **__: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(agents.client, "ask", ask)
    monkeypatch.setattr(agents, "_user_of", lambda _: "bob")
    hostile = {"url": "http://169.254.169.254/\x1b[2J", "app": f"{os.getpid()}-1", "directory": "/home/bob"}
    process[10] = AGENT, None
    process[11] = AGENT, started_with(**hostile)
    process[12] = AGENT, f"\0{VARIABLE}={'[' * 100_000}".encode()
    process[13] = AGENT, started_with(url=None, app=["x"], directory=5)
    process[14] = [b"vim", b"/src/streamvitals/agent", b""], b"\0A=b\0"
    found = agents.find({})
    assert [agent.agent_pid for agent in found if agent.agent_pid in process] == [11, 10, 12, 13]
    assert {agent.agent_pid: agent.state for agent in found}[10] == agents.HIDDEN
    done = CliRunner().invoke(cli.main, ["ps"])
    assert done.exit_code == 0, done.exception
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_where_there_is_none_that_is_said(process: dict[int, tuple[list[bytes], bytes | None]]) -> None:
    assert "no agent runs here" in CliRunner().invoke(cli.main, ["ps"]).stderr
    assert CliRunner().invoke(cli.main, ["ps", "--json"]).stdout == "[]\n"
    assert not process


def test_where_there_is_no_proc_that_is_said_with_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc") and real(path))
    done = CliRunner().invoke(cli.main, ["ps"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "need /proc of Linux; here, call streamvitals.instrument() in the program" in done.stderr


@pytest.mark.parametrize(("command", "shown"), [
    (["/v/bin/python3.12", "-u", "-W", "error", "/srv/app.py", "--key", "sk-1"], "python3.12 app.py"),
    (["python", "/srv/app.py", "sk-1"], "python app.py"), (["python", "-m", "uvicorn", "app:app"], "python -m uvicorn"),
    (["python", "-c", "key = 'sk-1'"], "python -c"), (["python"], "python"), (["/usr/bin/node", "sk-1"], "node"),
    (["gunicorn: master [app:app]"], "gunicorn: master [app:app]"), (["\x1b[2J"], "?[2J"), ([], ""),
])
def test_the_program_is_named_and_its_arguments_are_not(
    monkeypatch: pytest.MonkeyPatch, command: list[str], shown: str
) -> None:
    monkeypatch.setattr(proc, "arguments", lambda _: [*map(str.encode, command), b""])
    assert agents.program(Identity(1, 1)) == shown


def test_the_folder_around_roots_directory_is_not_a_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(tmp_path)])
    directory = private_directory.create({})
    private_directory.write_facts(directory, {"url": "http://localhost:1/metrics", "agent": "4000000-1", "app": ""})
    Path(directory, "1-1.0.sv").touch()
    (gone,) = [agent for agent in agents.find({}) if agent.state == agents.GONE]
    assert gone.directory == directory
    assert home(directory).startswith(str(tmp_path))
