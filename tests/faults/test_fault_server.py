"""The fault server does on the wire what it says, seen through raw sockets and without any HTTP client."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streamvitals.faults import (
    FaultServer,
    RequestLog,
    ThreadedFaultServer,
    connect_timeout_url,
    dns_failure_url,
    refused_url,
    tls_failure_url,
)
from streamvitals.faults.ask import BadAsk, Params, parse_spec
from streamvitals.faults.plays import PLAYS
from streamvitals.faults.scenarios import ALIASES, SCENARIOS, Scenario

PROMPT = "a prompt that nobody may keep"
SERVED = [scenario for scenario in SCENARIOS.values() if scenario.kind == "server"]
HANGS = 60  # seconds after which a socket that should have ended fails its test
DAY = "86400"


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedFaultServer]:
    with ThreadedFaultServer() as running:
        yield running


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    ending: str  # "fin" or "reset": what the socket said after the last byte

    @property
    def chunks(self) -> list[bytes]:
        return self._unchunk()[0]

    @property
    def whole(self) -> bool:
        """Whether the body is complete as its framing demands."""
        if "transfer-encoding" in self.headers:
            return self._unchunk()[1]
        return len(self.body) == int(self.headers.get("content-length", len(self.body)))

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks) if "transfer-encoding" in self.headers else self.body

    @property
    def data(self) -> list[str]:
        """The data of every SSE event, put together as the standard says."""
        found: list[str] = []
        for event in self.content.decode("utf-8-sig").replace("\r\n", "\n").split("\n\n")[:-1]:
            lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
            if lines:
                found.append("\n".join(lines))
        return found

    @property
    def finish_reasons(self) -> list[str]:
        said = [json.loads(data) for data in self.data if data != "[DONE]"]
        return [c["finish_reason"] for event in said for c in event.get("choices", ()) if c["finish_reason"]]

    def _unchunk(self) -> tuple[list[bytes], bool]:
        chunks: list[bytes] = []
        rest = self.body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                assert rest == b"\r\n"
                return chunks, True
            chunk, rest = rest[: int(size, 16)], rest[int(size, 16) :]
            chunks.append(chunk)
            if len(chunk) < int(size, 16):
                return chunks, False
            assert rest[:2] == b"\r\n"
            rest = rest[2:]
        return chunks, False


def request(
    model: str, *headers: str, path: str = "/v1/chat/completions", close: bool = True, **body: Any
) -> bytes:
    asked = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": True, **body}
    data = json.dumps(asked).encode()
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(data)}", *headers]
    lines += ["connection: close"] if close else []
    return "\r\n".join([*lines, "", ""]).encode() + data


def connect(server: ThreadedFaultServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=HANGS)


def read_to_end(sock: socket.socket) -> tuple[bytes, str]:
    data = b""
    while True:
        try:
            more = sock.recv(65_536)
        except ConnectionResetError:
            return data, "reset"
        if not more:
            return data, "fin"
        data += more


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        more = sock.recv(1)
        assert more, f"the connection ended before {end!r}"
        data += more
    return data


def parse(data: bytes, ending: str) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status_line.split()[1]) if status_line else 0, headers, body, ending)


def send(server: ThreadedFaultServer, data: bytes) -> Answer:
    with connect(server) as sock:
        sock.sendall(data)
        return parse(*read_to_end(sock))


def play(server: ThreadedFaultServer, model: str, **body: Any) -> tuple[Answer, RequestLog]:
    answer = send(server, request(model, **body))
    server.wait_idle()
    return answer, server.log[-1]


def test_catalogue_and_plays_are_the_same_set() -> None:
    assert {scenario.name for scenario in SERVED} == set(PLAYS)
    assert set(ALIASES.values()) <= set(PLAYS)
    for scenario in SCENARIOS.values():
        assert (scenario.error_type == "") == (scenario.outcome in ("completed", "length", "content_filter"))
        assert parse_spec(scenario.model)


@pytest.mark.parametrize("scenario", SERVED, ids=lambda s: s.name)
def test_every_scenario_ends_on_the_wire_as_the_log_says(
    server: ThreadedFaultServer, scenario: Scenario
) -> None:
    quick = f"{scenario.model}?stall=0&delay=0&first=0&first_token=0&gap=0"
    answer, entry = play(server, quick, user="all")
    assert entry.scenario == scenario.name
    seen = "reset" if answer.ending == "reset" else "complete" if answer.status and answer.whole else "fin"
    assert entry.ended == seen
    assert entry.status == answer.status
    if scenario.outcome == "completed" and not scenario.retries:
        assert answer.ending == "fin"
        if scenario.name != "gzip":
            assert len(answer.finish_reasons) == scenario.n
            assert ("[DONE]" in answer.data) == (scenario.name != "no-done")
            seen_chunks = [data for data in answer.data if data != "[DONE]"]
            assert entry.chunks == len(seen_chunks) == len(entry.gaps) + 1


def test_an_answer_byte_for_byte(server: ThreadedFaultServer) -> None:
    answer, entry = play(server, "sv-ok?chunks=2")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers["x-request-id"].startswith("req_")
    for name in ("limit-requests", "limit-tokens", "remaining-requests", "remaining-tokens"):
        assert int(answer.headers[f"x-ratelimit-{name}"]) == entry.ratelimit[name]
    one = (
        '{"id":"chatcmpl-streamvitals","object":"chat.completion.chunk","created":1700000000,'
        '"model":"sv-ok?chunks=2","system_fingerprint":"fp_streamvitals",'
        '"choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]}'
    )
    deltas = ('{"role":"assistant","content":"token0 "}', '{"content":"token1 "}')
    events = [*(one % (delta, "null") for delta in deltas), one % ("{}", '"stop"'), "[DONE]"]
    assert answer.chunks == [f"data: {event}\n\n".encode() for event in events]
    assert answer.body.endswith(b"\r\n0\r\n\r\n")
    assert (entry.chunks, entry.status, entry.ended) == (3, 200, "complete")


@pytest.mark.parametrize(
    ("model", "ending", "whole", "events", "finish", "last_bytes"),
    [
        ("reset?after=2", "reset", False, 2, [], b"\n\n\r\n"),
        ("reset-before-first-chunk", "reset", False, 0, [], b""),
        ("reset-after-finish?chunks=4", "reset", False, 5, ["stop"], b"\n\n\r\n"),
        ("fin-at-boundary", "fin", False, 3, [], b"\n\n\r\n"),
        ("fin-in-chunk", "fin", False, 3, [], b'"system_fin'),
        ("content-length-short", "fin", False, 3, [], b"\n\n"),
        ("close-delimited", "fin", True, 10, ["stop"], b"data: [DONE]\n\n"),
        ("close-delimited-cut", "fin", True, 3, [], b"\n\n"),
        ("silent-cut", "fin", True, 3, [], b"\n\n\r\n0\r\n\r\n"),
        ("truncated-json-event", "fin", True, 3, [], b"\r\n0\r\n\r\n"),
        ("empty-stream", "fin", True, 0, [], b"0\r\n\r\n"),
        ("done-only", "fin", True, 1, [], b"data: [DONE]\n\n\r\n0\r\n\r\n"),
        ("no-done", "fin", True, 9, ["stop"], b"\n\n\r\n0\r\n\r\n"),
    ],
)
def test_where_bodies_end(
    server: ThreadedFaultServer,
    model: str, ending: str, whole: bool, events: int, finish: list[str], last_bytes: bytes,
) -> None:
    answer, _ = play(server, model)
    assert (answer.ending, answer.whole) == (ending, whole)
    assert (len(answer.data), answer.finish_reasons) == (events, finish)
    assert answer.body.endswith(last_bytes)
    assert ("content-length" in answer.headers) == (model == "content-length-short")
    assert ("transfer-encoding" in answer.headers) == (not model.startswith(("close", "content")))


def test_reset_instead_of_an_answer(server: ThreadedFaultServer) -> None:
    with connect(server) as sock:
        sock.sendall(request("reset-before-headers"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_gzip_is_flushed_for_every_chunk(server: ThreadedFaultServer) -> None:
    answer, entry = play(server, "gzip")
    assert answer.headers["content-encoding"] == "gzip"
    unpack = zlib.decompressobj(wbits=31)
    events = [unpack.decompress(chunk) for chunk in answer.chunks]
    assert unpack.eof
    assert all(event.endswith(b"\n\n") for event in events[:-1])
    assert (events[-1], len(events)) == (b"", entry.chunks + 2)  # the last one only ends the stream


def test_usage_only_for_those_who_ask(server: ThreadedFaultServer) -> None:
    plain, _ = play(server, "ok-usage")
    asked, _ = play(server, "ok-usage?chunks=5", stream_options={"include_usage": True})
    refused, _ = play(server, "ok-usage", stream_options={"include_usage": False})
    assert "usage" not in "".join(plain.data + refused.data).replace("ok-usage", "")
    last = json.loads(asked.data[-2])
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5


def test_without_stream_a_whole_answer(server: ThreadedFaultServer) -> None:
    for model in ("ok?chunks=3", "silent-cut?chunks=3", "reset?chunks=3"):
        answer, _ = play(server, model, stream=False)
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == "token token token "
    assert play(server, "503", stream=False)[0].status == 503


def test_failing_then_fine_counts_by_body(server: ThreadedFaultServer) -> None:
    def statuses(user: str, times: int) -> list[int]:
        return [play(server, "429-then-ok", user=user)[0].status for _ in range(times)]

    assert statuses("one", 2) == [429, 429]
    assert statuses("two", 3) == [429, 429, 200]
    assert statuses("one", 4) == [200, 429, 429, 200]
    answer, entry = play(server, "429-then-ok", user="three")
    assert answer.headers["retry-after-ms"] == "20"
    assert entry.scenario == "429-then-ok"
    assert play(server, "429-then-ok", user="three", stream=False)[0].status == 429


def test_connections_are_reused(server: ThreadedFaultServer) -> None:
    with connect(server) as sock:
        for model in ("ok", "429", "ok?chunks=1"):
            sock.sendall(request(model, close=False))
            head = read_until(sock, b"\r\n\r\n")
            assert b"connection: keep-alive" in head
            if b"chunked" in head:
                read_until(sock, b"\r\n0\r\n\r\n")
            else:
                read_until(sock, b"}}")
        sock.sendall(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert parse(*read_to_end(sock)).status == 200
    server.wait_idle()
    assert len({entry.connection for entry in server.log[-4:]}) == 1
    assert len({entry.number for entry in server.log[-4:]}) == 4


@pytest.mark.parametrize("where", ["stall", "stall-before-first", "stall-before-headers", "slow-headers"])
def test_a_stalled_handler_ends_when_its_client_leaves(server: ThreadedFaultServer, where: str) -> None:
    with connect(server) as sock:
        sock.sendall(request(f"{where}?stall={DAY}&delay={DAY if where == 'slow-headers' else 0}"))
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock)[1] == "fin"
    server.wait_idle()
    assert server.log[-1].ended == "client_gone"


@pytest.mark.parametrize("model", [f"stall?stall={DAY}", f"ok?chunks=9&gap={DAY}", "ok?chunks=10000000"])
def test_stop_ends_stalled_waiting_and_blocked_handlers(model: str) -> None:
    with ThreadedFaultServer() as own, connect(own) as idle, connect(own) as sock:
        sock.sendall(request(model))
        read_until(sock, b"token0 ")  # the last of the three is then blocked: nobody reads on
        own.stop()
        assert own.log[-1].ended == "stopped"
        assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(own)


def test_the_log_has_the_times_but_no_prompt_and_no_key(server: ThreadedFaultServer) -> None:
    headers = ("authorization: Bearer sk-secret", "traceparent: 00-ab-cd-01", "x-stainless-retry-count: 2")
    send(server, request("role-first?first_token=0.001&first=0.001", *headers))
    server.wait_idle()
    entry = server.log[-1]
    assert entry.first_chunk is not None
    assert entry.first_token is not None
    assert entry.t_headers is not None
    assert entry.t_end is not None
    assert 0 < entry.first_chunk < entry.first_token
    assert entry.t_request < entry.t_headers < entry.t_request + entry.first_chunk < entry.t_end
    assert len(entry.gaps) == entry.chunks - 1
    assert max(entry.gaps) == entry.max_gap
    assert (entry.authorization, entry.attempt) == (True, 2)
    assert entry.headers == {"traceparent": "00-ab-cd-01", "x-stainless-retry-count": "2"}
    assert PROMPT not in json.dumps(entry.as_dict())
    assert "sk-secret" not in json.dumps(entry.as_dict())


def test_the_log_is_bounded() -> None:
    with ThreadedFaultServer(log_size=3) as own:
        for _ in range(5):
            play(own, "ok?chunks=5000")
        assert [entry.number for entry in own.log] == [3, 4, 5]
        assert own.log[0].chunks == 5001
        assert len(own.log[0].gaps) == 4096


def test_chunked_request_bodies_and_expect_continue(server: ThreadedFaultServer) -> None:
    body = json.dumps({"model": "ok", "stream": True, "messages": []}).encode()
    with connect(server) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
            b"expect: 100-continue\r\nconnection: close\r\n\r\n"
        )
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for part in (body[:7], body[7:]):
            sock.sendall(b"%x;ext=1\r\n%b\r\n" % (len(part), part))
        sock.sendall(b"0\r\ntrailer: x\r\n\r\n")
        assert parse(*read_to_end(sock)).finish_reasons == ["stop"]


def test_azure_paths_and_the_body_field(server: ThreadedFaultServer) -> None:
    azure = "/openai/deployments/sv%2Dlength/chat/completions?api-version=2024-10-21"
    assert send(server, request("", path=azure)).finish_reasons == ["length"]
    answer, entry = play(server, "gpt-4o", sv_scenario="reset?after=1")
    assert (answer.ending, len(answer.data), entry.scenario) == ("reset", 1, "reset-after-n")
    assert '"model":"gpt-4o"' in answer.data[0]


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("gpt-4o", "unknown scenario 'gpt-4o'"),
        ("break", "unknown scenario"),
        ("ok?colour=1", "unknown parameter 'colour'; known are chunks, after"),
        ("ok?chunks=many", "chunks='many' must be an integer from 0"),
        ("ok?gap=-1", "gap='-1' must be seconds from 0"),
        ("ok?gap=nan", "gap='nan' must be seconds from 0"),
    ],
)
def test_what_is_not_understood_is_a_400_that_says_why(
    server: ThreadedFaultServer, model: str, text: str
) -> None:
    answer, entry = play(server, model)
    assert (answer.status, entry.scenario) == (400, "")
    assert text in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n", 200),
        (b"GET /v1/models HTTP/1.1\r\nauthorization: Bearer bad-key\r\nconnection: close\r\n\r\n", 401),
        (b"GET /v1/nothing HTTP/1.1\r\nconnection: close\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nlong: " + b"x" * 70_000 + b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
)
def test_other_requests(server: ThreadedFaultServer, sent: bytes, status: int) -> None:
    answer = send(server, sent)
    assert (answer.status, answer.ending, answer.whole) == (status, "fin", True)
    if status == 200:
        listed = {model["id"] for model in json.loads(answer.body)["data"]}
        assert listed == {scenario.model for scenario in SERVED}


def test_many_connections_at_once() -> None:
    async def client(server: FaultServer, number: int) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request("ok?chunks=20&gap=0.001", user=str(number)))
        body = await reader.read()
        writer.close()
        await writer.wait_closed()
        return body.count(b"data: {"), body[-5:]

    async def main() -> None:
        async with FaultServer() as server:
            answers = await asyncio.gather(*(client(server, number) for number in range(200)))
            assert set(answers) == {(21, b"0\r\n\r\n")}
            await server.wait_idle()
            assert {entry.ended for entry in server.log} == {"complete"}
            assert len(server.log) == 200

    asyncio.run(main())


def test_params() -> None:
    assert parse_spec("ok") == ("ok", Params())
    assert parse_spec("sv-role-first") == ("role-first", Params(first_token=0.2))
    assert parse_spec("stall?stall=2&after=0") == ("stall", Params(stall=2.0, after=0))
    with pytest.raises(BadAsk):
        parse_spec("ok?chunks=")


def test_addresses_that_no_server_can_play(server: ThreadedFaultServer) -> None:
    port = int(refused_url().removesuffix("/v1").rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert refused_url() == refused_url()
    assert dns_failure_url() == "http://nonexistent.invalid/v1"
    assert tls_failure_url(server.base_url) == f"https://127.0.0.1:{server.port}/v1"
    context = ssl.create_default_context()
    with connect(server) as sock, pytest.raises(ssl.SSLError, match=r"WRONG_VERSION_NUMBER|wrong version"):
        context.wrap_socket(sock, server_hostname="localhost")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse when the queue is full")
def test_an_address_that_never_answers() -> None:
    port = int(connect_timeout_url().removesuffix("/v1").rpartition(":")[2])
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.05)


def test_a_port_that_is_taken(server: ThreadedFaultServer) -> None:
    with pytest.raises(OSError, match="in use"):
        ThreadedFaultServer(port=server.port).start()


def test_command_line(tmp_path: Path) -> None:
    port_file, log = tmp_path / "port", tmp_path / "log"
    command = [sys.executable, "-m", "streamvitals", "faults"]
    command += ["--port-file", str(port_file), "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2].removesuffix("/v1")))) as sock:
            sock.sendall(request("length"))
            assert parse(*read_to_end(sock)).finish_reasons == ["length"]
        assert port_file.read_text().strip() in url
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert [json.loads(line)["ended"] for line in log.read_text().splitlines()] == ["complete"]
    assert PROMPT not in log.read_text()
