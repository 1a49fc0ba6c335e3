"""The command line itself; what `run`, `agent` and `doctor` do is tested with them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamvitals
from run_support import RUN, environment

COMMAND = RUN[0]


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], env=environment(), capture_output=True, text=True, check=False)


def test_version():
    done = ask("--version")
    assert done.returncode == 0
    assert streamvitals.__version__ in done.stdout


@pytest.mark.parametrize("command", ["run", "agent", "doctor", "alerts", "dashboards", "runbook"])
def test_help(command):
    assert command in ask("--help").stdout
    done = ask(command, "--help")
    assert done.returncode == 0
    assert f"Usage: streamvitals {command}" in done.stdout


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "streamvitals", "--version"], env=environment(), capture_output=True, check=True
    )
    assert streamvitals.__version__.encode() in done.stdout


def test_unknown_command():
    assert ask("nonsense").returncode == 2


def test_agent_of_a_directory_that_is_not_there():
    done = ask("agent", "--dir", "/there/is/none")
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_run_loads_neither_the_agent_nor_the_sdk():
    """It stands before every start of the app."""
    code = (
        "import sys; import streamvitals.cli, streamvitals.run.launch;"
        "heavy = ('openai', 'prometheus_client', 'opentelemetry', 'http.server', 'asyncio');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
