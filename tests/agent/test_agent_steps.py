"""The agent takes every step of its round, whatever the others raise, and ends when its tree has ended."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvitals.agent import serve
from streamvitals.agent.proc import Identity
from streamvitals.agent.serve import Agent
from streamvitals.config import Config


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    directory = tmp_path / "d"
    directory.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Agent(str(directory), listener, "http://localhost/metrics", Config(linger=0.0), Identity(2**22 - 1, 1))
        yield made
        made._tree.close()
        made._server.server_close() if hasattr(made._server, "server_close") else None


def broken(*_: object) -> None:
    raise LookupError("a step of ours")


@pytest.mark.parametrize("step", ["_claim.renew", "_tree.builds"])
def test_it_ends_with_its_tree_whatever_a_step_raises(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(f"{serve.__name__}.NO_DATA_LINGER", 0.0)
    part, name = step.split(".")
    monkeypatch.setattr(getattr(agent, part), name, broken)
    agent._last_seen -= 1.0
    agent._tick()
    assert agent._stop.is_set()
    monkeypatch.undo()
    assert agent.health()["agent_faults"] == 1


def test_a_round_that_cannot_look_who_is_left_goes_on(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(agent._monitor, "anyone_left", broken)
        agent._tick()
    assert not agent._stop.is_set()
    monkeypatch.setattr(f"{serve.__name__}.NO_DATA_LINGER", 0.0)
    agent._last_seen -= 1.0
    agent._tick()
    assert agent._stop.is_set()


def test_facts_that_cannot_be_written_do_not_end_it(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that was full from the start."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(serve.private_directory, "write_facts", full)
    monkeypatch.setattr(agent, "_listen_to_signals", lambda: None)
    agent._stop.set()
    thread = threading.Thread(target=agent.serve)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert agent.health()["agent_faults"] == 1


def test_its_log_says_which_file_is_not_believed(agent: Agent) -> None:
    Path(agent._directory, "10-100.0.sv").write_bytes(b"\xff" * 5000)
    for _ in range(3):
        agent._tick()
    log = Path(agent._directory, serve.private_directory.LOG).read_text()
    assert log.count("10-100.0.sv is of another version, or not of streamvitals: no header") == 1
    assert agent.health()["internal_errors"] == {"layout": 1}
    assert "10-100.0.sv" not in os.listdir(agent._directory), "its process is gone, and no other agent will read it"
