"""`streamvitals incidents`: what a terminal shows, what a program gets, and what is said where it cannot be."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from served_support import certificate
from store_support import LABELS, record
from streamvitals.agent.access import Access
from streamvitals.agent.http import AgentServer
from streamvitals.agent.metrics import of_registry
from streamvitals.cli import main
from streamvitals.config import Config
from streamvitals.doctor import incidents as command
from streamvitals.incidents.page import IncidentsPage
from streamvitals.live.answers import Live
from streamvitals.outcome import Outcome
from streamvitals.retries.failures import Chain
from streamvitals.sinks.incidents import IncidentSink
from streamvitals.store.incident_record import ENDED, SLOW_GAP, IncidentRecord, Tried
from streamvitals.store.memory import MappedMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store
from streamvitals.stream.record import STALL_AFTER, Stall

HOSTILE = "\x1b[31mred\u202etxt.exe\r\n<script>"


@pytest.fixture
def kept() -> list[IncidentRecord]:
    """The records of an agent, which a test fills."""
    return []


@pytest.fixture
def url(kept: list[IncidentRecord]) -> Iterator[str]:
    """An agent that serves them."""
    listener, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()
    server = AgentServer(
        listener, partial(of_registry, CollectorRegistry()), dict, lambda: None, lambda _: None, 0.02,
        Live(list, Snapshot, STALL_AFTER, IncidentsPage(lambda: (list(kept), 0), clock=iter(range(10**6)).__next__)),
    )
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        listener.close()


@contextmanager
def guarded(config: Config, kept: Sequence[IncidentRecord] = (), scheme: str = "http") -> Iterator[str]:
    """An agent that asks who is there."""
    listener, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()
    server = AgentServer(
        listener, partial(of_registry, CollectorRegistry()), dict, lambda: None, lambda _: None, 0.02,
        Live(list, Snapshot, STALL_AFTER, IncidentsPage(lambda: (list(kept), 0))), Access(config, listener),
    )
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        yield f"{scheme}://localhost:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        listener.close()


def one(number: int, ago: float, **facts: Any) -> IncidentRecord:
    at = time.time() - ago
    labels = LABELS._replace(model="gpt-4o", server="api.example")
    plain = IncidentRecord(f"1-1-{number}", ENDED, 1, labels, "reset", "connection_reset", at, 12.0, 20)
    return plain._replace(**{"run_since": at, **facts})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["incidents", *arguments])


def test_like_records_are_one_incident_with_its_sentence(url: str, kept: list[IncidentRecord]) -> None:
    first = one(1, 130.0)
    kept += [first, one(2, 10.0, run_since=first.run_since, run_number=34)]
    shown = run("--url", url)
    assert shown.exit_code == 0
    head, sentence, following = shown.output.splitlines()
    assert "  reset (connection_reset), gpt-4o at api.example, 34 in 2 min, after 20 chunks, 12 s  [" in head
    assert sentence == (
        "    The connection to api.example was reset; the provider's doing. None of the last 2 was made good by a "
        "later attempt yet."
    )
    assert "next: After how many seconds it breaks" in following
    assert "streamvitals runbook StreamvitalsResetStorm" in following


def test_one_stream_is_told_from_its_request_to_its_end(url: str, kept: list[IncidentRecord]) -> None:
    kept.append(one(
        1, 5.0, request_id="req_7", attempts=2, chain_attempt=2, operation="1-1-9", bytes=4096, silence=2.5,
        headers=1.2, first_chunk=1.4, first_token=1.5, longest_gap=6.0, longest_gap_at=3.0, stalls=1,
        first_stalls=(Stall(3.0, 6.0, "between_chunks"),), causes=("APIConnectionError", "ReadError"),
        first_attempts=(Tried(0.0, 0.25, 503, "503", 0.75), Tried(1.0, 11.0, 200, "connection_reset", 0.0)),
    ))
    for id_ in ("req_7", "1-1-1", json.loads(run("--url", url, "--json").output)["incidents"][0]["id"]):
        lines = [line.strip() for line in run("--url", url, id_).output.splitlines()]
        assert lines[-9:] == [
            "0.000 s  request sent: 503, over after 0.250 s, then waited 0.750 s",
            "1.000 s  request sent: status 200, connection_reset, over after 11 s",
            "1.200 s  headers", "1.400 s  first chunk", "1.500 s  first token",
            "3.000 s  stalled: 6.0 s of silence between chunks",
            "12.000 s  reset (connection_reset): 20 chunks, 4096 bytes, 2.5 s of silence before",
            "causes: APIConnectionError < ReadError",
            "attempt 2 of operation 1-1-9, not yet made good by a later one",
        ]
    missing = run("--url", url, "req_8")
    assert (missing.exit_code, "req_8" in missing.output) == (1, True)


def test_names_from_outside_can_do_nothing_to_a_terminal(url: str, kept: list[IncidentRecord]) -> None:
    labels = LABELS._replace(model=HOSTILE, server=HOSTILE, custom=(("tenant", HOSTILE),))
    kept.append(one(1, 1.0, labels=labels, causes=(HOSTILE,), request_id=HOSTILE, error_type=HOSTILE, outcome=HOSTILE))
    kept.append(one(2, 1.0, labels=labels, kind=SLOW_GAP, outcome="completed", longest_gap=9.0, longest_gap_at=1.0))
    for shown in (run("--url", url), run("--url", url, "1-1-1"), run("--url", url, "1-1-2")):
        assert shown.exit_code == 0
        assert all(c.isprintable() or c == "\n" for c in shown.output)
        assert "red?txt.exe" in shown.output


def test_filters_reach_the_agent_and_json_is_its_answer(url: str, kept: list[IncidentRecord]) -> None:
    kept += [one(1, 5.0), one(2, 5.0, outcome="timeout", error_type="read_timeout"), one(3, 5000.0, outcome="rejected")]
    made = json.loads(run("--url", url, "--json", "--outcome", "timeout,rejected", "--since", "10m").output)
    assert [incident["outcome"] for incident in made["incidents"]] == ["timeout"]
    assert made["records"][0]["agent"] == url
    assert json.loads(run("--url", url, "--json", "--model", "gpt-5", "--label", "a=b").output)["incidents"] == []
    assert "no incidents in the last 1m" in run("--url", url, "--since", "1m", "--model", "x").output


@pytest.mark.parametrize(("arguments", "said"), [
    (("--since", "soon"), "10m"), (("--outcome", "rest"), "truncated, reset, timeout"),
    (("--provider", "x"), "azure.ai.openai"), (("--limit", "0"), "1 to 1000"), (("--label", "tenant"), "NAME=VALUE"),
    (("--label", "a b=c"), "STREAMVITALS_LABELS"), (("--dir", "/not/there"), "does not exist"),
    (("--dir", "/tmp", "--url", "http://localhost:1"), "together"), (("--follow", "--url", "x", "an-id"), "no ID"),
    (("--colour",), "No such option"), (("--url", "ftp://x"), "is no address of an agent"),
    (("--url", "http://me:secret@x:y"), "is no address of an agent"), (("--key", __file__), "--cert"),
    (("--cert", __file__), "the file of --cert cannot be used"), (("--cacert", __file__), "the file of --cacert"),
])
def test_what_cannot_be_asked_exits_with_2(arguments: tuple[str, ...], said: str) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert said in refused.output
    assert "secret" not in refused.output


def test_a_directory_that_is_none_of_ours_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    refused = run("--dir", str(tmp_path))
    assert refused.exit_code == 2
    assert f"{tmp_path}: nothing of streamvitals is there; give what the app has in STREAMVITALS_DIR" in refused.output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_where_nobody_answers_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gone = run("--url", f"http://127.0.0.1:{port}")
    assert (gone.exit_code, "no agent answers" in gone.output) == (1, True)
    monkeypatch.setattr(command.private_directory, "urls", lambda _: [])
    alone = run()
    assert (alone.exit_code, "streamvitals run -- COMMAND" in alone.output) == (1, True)


@pytest.mark.parametrize(("facts", "said"), [
    ({}, "No later attempt has made it good yet."), ({"recovered": 5.0}, "A later attempt made it good."),
    ({"repeats": 9, "recovered_repeats": 3}, "3 of 10 were made good"),
    ({"repeats": 9, "recovered": 5.0}, "1 of 10 was made good"),
    ({"repeats": 1, "recovered_repeats": 1, "recovered": 5.0}, "All of 2 were made good"),
    ({"run_number": 50, "repeats": 9, "recovered": 5.0}, "1 of the last 10 was made good"),
    ({"outcome": "abandoned", "error_type": "closed"}, "own doing.\n"),
    ({"outcome": "timeout", "error_type": "pool_timeout"}, "No later attempt"),
])
def test_whether_users_were_hurt_is_said(url: str, kept: list[IncidentRecord], facts: Any, said: str) -> None:
    kept.append(one(1, 5.0, **facts))
    assert said in run("--url", url).output


@pytest.mark.parametrize("answered", [
    b"<html>", b"[]", b"{}", b'{"version": 2}', b'{"version": 1, "now": 1, "incidents": [{}]}',
    b'{"version": 1, "now": 1e999, "incidents": [], "records": [], "slowest": [], "truncated": 0, "lost": 0}',
    b"[" * 100_000,
])
def test_what_is_no_answer_of_an_agent_is_said_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, answered: bytes
) -> None:
    monkeypatch.setattr(command, "ask", lambda *_: io.BytesIO(answered))
    shown = run("--url", "http://localhost:1")
    assert (shown.exit_code, "is not understood" in shown.output) == (1, True)


def test_of_several_agents_one_may_be_gone(
    url: str, kept: list[IncidentRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.append(one(1, 5.0))
    monkeypatch.setattr(command.private_directory, "urls", lambda _: [url, "http://127.0.0.1:9"])
    shown = run()
    assert shown.exit_code == 0
    assert "reset" in shown.output
    assert "no agent answers at http://127.0.0.1:9" in shown.output


def test_one_that_refuses_or_was_named_and_is_gone_is_no_success(
    url: str, kept: list[IncidentRecord], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept.append(one(1, 5.0))
    gone = run("--url", url, "--url", "http://127.0.0.1:9")
    assert (gone.exit_code, "reset" in gone.output) == (1, True)
    (tmp_path / "token").write_text("not-the-one")
    (tmp_path / "its").write_text("of-the-agent")
    monkeypatch.setenv("STREAMVITALS_TOKEN_FILE", str(tmp_path / "token"))
    with guarded(Config(token_file=str(tmp_path / "its"))) as closed:
        monkeypatch.setattr(command.private_directory, "urls", lambda _: [url, closed])
        refused = run()
        assert (refused.exit_code, "reset" in refused.output) == (1, True)
        assert f"the agent at {closed} does not accept the token of STREAMVITALS_TOKEN_FILE" in refused.output
        monkeypatch.delenv("STREAMVITALS_TOKEN_FILE")
        assert f"the agent at {closed} answers 401 -> set STREAMVITALS_TOKEN_FILE" in run().output


def test_a_certificate_is_shown_where_one_is_asked_for(
    tmp_path: Path, kept: list[IncidentRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.append(one(1, 5.0))
    certificate(tmp_path, "tls")
    cert, key, web = (str(tmp_path / name) for name in ("tls.crt", "tls.key", "web.yml"))
    Path(web).write_text(
        "tls_server_config: {cert_file: tls.crt, key_file: tls.key, client_ca_file: tls.crt, "
        "client_auth_type: RequireAndVerifyClientCert}"
    )
    with guarded(Config(web_config=web), kept, "https") as closed:
        monkeypatch.setattr(command.private_directory, "urls", lambda _: [closed])
        for arguments in (["incidents"], ["top", "--once", "--json"]):
            trusted = [*arguments, "--cacert", cert]
            shown = CliRunner().invoke(main, [*trusted, "--cert", cert, "--key", key])
            assert shown.exit_code == 0, shown.output
            refused = CliRunner().invoke(main, trusted)
            assert refused.exit_code == 1
            assert "if it asks for certificates, give --cert" in refused.output
            assert "is not trusted here -> set SSL_CERT_FILE" in CliRunner().invoke(main, arguments).output


def test_follow_prints_what_is_new(url: str, kept: list[IncidentRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    def then(_: float) -> None:
        if len(kept) == 1:
            kept.append(one(2, 1.0, run_since=kept[0].run_since, run_number=3))
        elif len(kept) == 2:
            kept.append(one(3, 1.0, outcome="timeout", error_type="read_timeout"))
        else:
            raise KeyboardInterrupt

    kept.append(one(1, 20.0))
    monkeypatch.setattr(command.time, "sleep", then)
    followed = run("--follow", "--url", url)
    assert followed.exit_code == 130
    heads = [line.split("  ")[1] for line in followed.output.splitlines() if not line.startswith(" ")]
    assert [head.partition(",")[0] for head in heads] == [
        "reset (connection_reset)", "+2: reset (connection_reset)", "timeout (read_timeout)",
    ]
    del kept[1:]
    lines = [json.loads(line) for line in run("-f", "--json", "--url", url).output.splitlines()]
    assert [line["id"] for line in lines] == ["1-1-1", "1-1-2", "1-1-3"]


def test_a_directory_whose_agent_is_gone_is_read_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid())
    store = Store(MappedMemory(str(tmp_path)))
    IncidentSink(store).keep(record(outcome=Outcome.RESET, error_type="broken_pipe", operation=Chain(0.0)))
    (tmp_path / "1-1.7.sv").write_bytes(b"nothing of ours")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.sv")}
    shown = run("--dir", str(tmp_path))
    assert shown.exit_code == 0
    assert "reset (broken_pipe)" in shown.output

    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.sv")} == before
