"""Who is let in by the agent: by name, by password, by token, by certificate; and what is said at the start."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import ssl
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from run_support import RUN, environment, python, started
from served_support import certificate
from streamvitals.agent import access, client, web_config
from streamvitals.agent.access import Access
from streamvitals.agent.http import AgentServer
from streamvitals.agent.metrics import of_registry
from streamvitals.config import Config
from streamvitals.incidents.page import IncidentsPage
from streamvitals.live.answers import Live
from streamvitals.store.snapshot import Snapshot
from streamvitals.stream.record import STALL_AFTER

bcrypt = pytest.importorskip("bcrypt")
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users:\n  prometheus: {HASH}\n"
TOKEN = "0123456789abcdef"
LOCAL = "localhost:9464"


@contextlib.contextmanager
def serving(config: Config | None = None, host: str = "127.0.0.1") -> Iterator[Any]:
    """A server with these settings, as a function that asks it with headers and returns status and headers."""
    listener = socket.create_server((host, 0))
    faults: list[BaseException] = []
    stop, port = threading.Event(), listener.getsockname()[1]
    server = AgentServer(
        listener, partial(of_registry, CollectorRegistry()), lambda: {"status": "ok"}, lambda: None, faults.append,
        every=0.05, live=Live(list, Snapshot, STALL_AFTER, IncidentsPage(lambda: ([], 0))),
        access=Access(config or Config(), listener),
    )
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()

    def ask(path: str = "/metrics", **headers: str | None) -> tuple[int, Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest("GET", path, skip_host=True)
            for name, value in {"Host": LOCAL, **headers}.items():
                if value is not None:
                    connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers

    ask.port = port  # type: ignore[attr-defined]
    try:
        yield ask
    finally:
        stop.set()
        thread.join()
        listener.close()
    assert faults == []


def files(tmp_path: Path, web: str = "", token: str = "") -> Config:
    for name, content in (("web.yml", web), ("token", token)):
        (tmp_path / name).write_text(content)
    return Config(
        web_config=str(tmp_path / "web.yml") if web else "", token_file=str(tmp_path / "token") if token else ""
    )


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


# -- by name


def test_bound_to_loopback_it_answers_to_names_of_this_machine_only() -> None:
    with serving() as ask:
        for own in (LOCAL, "localhost", "LOCALHOST.:80", "app.localhost:9464", "127.0.0.1:9464", "[::1]:9464", None):
            assert ask(Host=own)[0] == (200 if own is not None else 400), own  # HTTP/1.1 has to name a host
        for other in ("evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "[x]"):
            assert ask(Host=other)[0] == 421, other
            assert ask("/healthz", Host=other)[0] == 421, other
        assert ask("http://evil.example/healthz", Host="localhost")[0] == 421, "the host of a whole URL is what counts"
        assert ask("http://localhost:1/healthz", Host="evil.example")[0] == 200
    with serving(Config(host="this.machine")) as ask:
        assert ask(Host="this.machine:9464")[0] == 200
    with serving(host="0.0.0.0") as ask:
        assert ask(Host="pod-7.example:9464")[0] == 200, "by what name others reach it is not known"


def test_a_page_of_another_site_gets_nothing_and_may_frame_nothing() -> None:
    with serving() as ask:
        assert ask(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
        assert ask(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200, "a link"
        assert ask(Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")[0] == 200
        status, headers = ask(Origin="http://evil.example")
        assert status == 200
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        for status, headers in (ask(), ask("/nothing"), ask(Host="evil.example")):
            assert headers["X-Content-Type-Options"] == "nosniff", status
            assert headers["X-Frame-Options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


# -- by password and token


def test_with_users_and_a_token_everything_asks_for_one_of_them(tmp_path: Path) -> None:
    with serving(files(tmp_path, USERS, TOKEN + "\n")) as ask:
        for path in ("/metrics", "/healthz", "/", "/nothing"):
            status, headers = ask(path)
            assert status == 401
            assert headers.get_all("WWW-Authenticate") == ['Basic realm="streamvitals", charset="UTF-8"', "Bearer"]
        for wrong in (
            basic("prometheus", "wrong"), basic("nobody", "secret"), basic("prometheus", "secret\0"), "Basic x",
            "Basic", f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer é", f"Digest {TOKEN}", HASH, basic("prometheus", HASH),
        ):
            assert ask(Authorization=wrong)[0] == 401, wrong
        for right in (basic("prometheus", "secret"), f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            assert ask(Authorization=right)[0] == 200, right
            assert ask(Authorization=right, Host="proxy.example")[0] == 200, "a page of another name has no password"


def test_a_password_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bytes] = []
    real = access._matches
    monkeypatch.setattr(access, "_matches", lambda given, hashed: checked.append(given) or real(given, hashed))
    with serving(files(tmp_path, USERS)) as ask:
        for _ in range(3):
            assert ask(Authorization=basic("prometheus", "secret"))[0] == 200
            assert ask(Authorization=basic("nobody", "secret"))[0] == 401
    assert checked == [b"secret", b"secret"], "also for a name that does not exist, so that the time tells nothing"


def test_what_is_renewed_is_read_again_and_what_is_broken_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "LOOK_EVERY", 0.0)
    with serving(files(tmp_path, token=TOKEN)) as ask:
        assert ask(Authorization=f"Bearer {TOKEN}")[0] == 200
        (tmp_path / "token").write_text("another-token")
        assert ask(Authorization=f"Bearer {TOKEN}")[0] == 401
        assert ask(Authorization="Bearer another-token")[0] == 200
        (tmp_path / "token").write_text("")
        assert ask(Authorization="Bearer ")[0] == 401
        assert ask(Authorization="Bearer another-token")[0] == 200


# -- files that cannot be used

PAIR = "tls_server_config: {cert_file: a, key_file: b"
WRONG = [
    ("- a", "it is no mapping"), ("a: [", "it is no YAML, see line"),
    ("basic_auth_user: {}", "'basic_auth_user' is not known here"),
    ("basic_auth_users: {a: secret}", "what basic_auth_users has for 'a' is no bcrypt hash"),
    (f"basic_auth_users: {{a: '{HASH.replace('$04$', '$31$')}'}}", "the cost of the hash of 'a' is not from 4 to 14"),
    ("basic_auth_users: [a]", "is no mapping of names"),
    ("tls_server_config: {cert_file: a}", "needs cert_file and key_file"),
    (PAIR + "}", "cannot be read: No such file"),
    (PAIR + ", client_auth_type: RequireAnyClientCert}", "client_auth_type is none of"),
    (PAIR + ", client_ca_file: c}", "client_ca_file goes with"),
    (PAIR + ", curve_preferences: [X25519]}", "'curve_preferences' in tls_server_config is not known"),
    (PAIR + ", min_version: TLS9}", "a version of TLS is none of"),
    (PAIR + ", cipher_suites: [X]}", "the suite 'X' is not known"),
    ("http_server_config: {headers: {X-Other: a}}", "the header 'X-Other' is none of"),
    ("http_server_config: {headers: {X-Frame-Options: \"a\\r\\nX: y\"}}", "is no printable text"),
]


@pytest.mark.parametrize(("content", "why"), WRONG, ids=range(len(WRONG)))
def test_a_file_that_cannot_be_used_is_said_without_its_values(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(web_config.UnusableError, match=r"STREAMVITALS_WEB_CONFIG='.*' cannot be used: ") as caught:
        web_config.read(files(tmp_path, content))
    assert why in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nothing_is_served_where_the_rules_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(files(tmp_path, "basic_auth_users: {a: secret}")) as ask:
        assert {ask(path, Authorization=basic("a", "secret"))[0] for path in ("/metrics", "/healthz", "/")} == {503}
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(web_config.UnusableError, match="bcrypt is not installed here") as caught:
        web_config.read(files(tmp_path, USERS))
    assert "bcrypt" in caught.value.fix or "[auth]" in caught.value.fix
    with serving(files(tmp_path, USERS)) as ask:
        assert ask(Authorization=basic("prometheus", "secret"))[0] == 503


def test_what_prometheus_takes_is_taken(tmp_path: Path) -> None:
    certificate(tmp_path)
    rules = web_config.read(files(tmp_path, f"""
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: server.crt
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_RSA_WITH_AES_256_CBC_SHA]
  prefer_server_cipher_suites: true
http_server_config:
  http2: true
  headers: {{X-Frame-Options: sameorigin, Strict-Transport-Security: max-age=60}}
{USERS}"""))
    assert rules.tls is not None
    assert rules.tls.minimum_version is ssl.TLSVersion.TLSv1_2
    names = {suite["name"] for suite in rules.tls.get_ciphers()}
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "AES256-SHA"} <= names
    assert "ECDHE-RSA-AES256-GCM-SHA384" not in names
    assert rules.users == {"prometheus": HASH}
    assert rules.asks
    assert not rules.certified
    assert rules.headers == (("X-Frame-Options", "sameorigin"), ("Strict-Transport-Security", "max-age=60"))


# -- over TLS


def test_over_tls_with_certificates_of_clients(tmp_path: Path) -> None:
    for name in ("server", "scraper", "other"):
        certificate(tmp_path, name)
    (tmp_path / "clients.crt").write_text("".join((tmp_path / f"{n}.crt").read_text() for n in ("scraper", "other")))
    config = files(tmp_path, """
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: clients.crt
  client_allowed_sans: [scraper]
""")

    def ask(port: int, name: str) -> int:
        context = ssl.create_default_context(cafile=str(tmp_path / "server.crt"))
        if name:
            context.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Host": "any.example"})
            return connection.getresponse().status

    with serving(config) as plain:
        assert ask(plain.port, "scraper") == 200
        for name in ("", "other"):
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(plain.port, name)
        with pytest.raises((OSError, http.client.HTTPException)):
            plain()  # no TLS


# -- by `run`, its lines and doctor


def doctor(url: str, **env: str) -> str:
    command = [str(Path(sys.executable).with_name("streamvitals")), "doctor", "--url", url]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, check=False).stdout


def test_under_run_prometheus_file_and_token_count_for_all_and_for_doctor(tmp_path: Path) -> None:
    certificate(tmp_path)
    tls = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
    config = files(tmp_path, tls + USERS, TOKEN)
    trusted = {"SSL_CERT_FILE": str(tmp_path / "server.crt")}
    env = environment(STREAMVITALS_TOKEN_FILE="token", STREAMVITALS_LINGER_SECONDS="0")
    command = python("-c", "input()")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(command, env, cwd=tmp_path, run=(*RUN, "--web-config", "web.yml"), **pipes) as app:
        assert app.process.stderr is not None
        url = f"https://localhost:{app.port}"
        assert f"metrics are at {url}/metrics" in app.process.stderr.readline()
        said = doctor(url, **trusted)
        assert "answers 401" in said
        assert "set STREAMVITALS_TOKEN_FILE to a file with its token" in said
        assert "is not trusted here" in doctor(url)
        assert "processes alive of" in doctor(url, STREAMVITALS_TOKEN_FILE=config.token_file, **trusted)
        assert "processes alive of" in doctor(url.replace("://", "://prometheus:secret@"), **trusted)
        wrong = doctor(url.replace("://", "://prometheus:wrong-one@"), **trusted)
        assert "does not accept the name and password in the URL" in wrong
        assert "wrong-one" not in wrong


OPEN = {"STREAMVITALS_HOST": "0.0.0.0"}


@pytest.mark.parametrize(("more", "said"), [
    ({"STREAMVITALS_WEB_CONFIG": "a.yml"}, "/a.yml' cannot be used: No such file or directory: nothing is served ->"),
    (OPEN, "can read them, for nobody is asked who he is -> set STREAMVITALS_TOKEN_FILE or"),
    ({**OPEN, "STREAMVITALS_QUIET": "true"}, ""),
])
def test_what_is_open_or_cannot_be_served_is_said_at_the_start(tmp_path: Path, more: dict[str, str], said: str) -> None:
    env = environment(STREAMVITALS_PORT="0", **more)
    arguments = [*RUN, "--", *python("-c", "print('ran')")]
    done = subprocess.run(arguments, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "ran\n"
    assert said in done.stderr
    assert done.stderr.count("\n") == (2 if said else 0), done.stderr


def test_the_client_sends_a_token_nowhere_else(tmp_path: Path) -> None:
    asked: list[Mapping[str, str]] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{ask.port}/healthz")
            self.end_headers()

    env = {"STREAMVITALS_TOKEN_FILE": str(tmp_path / "token")}
    with serving(files(tmp_path, token=TOKEN)) as ask, http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        with client.ask(f"http://127.0.0.1:{ask.port}/metrics", "/healthz", env=env) as answer:
            assert answer.status == 200
        threading.Thread(target=other.handle_request).start()
        with pytest.raises(client.UnreachableError, match="answers 302"):
            client.ask(f"http://a:b@127.0.0.1:{other.server_port}", "/healthz", env=env)
        for bad in ("", "file:///etc/passwd", "http://", "http://[", "localhost:1", "http://a:secret@h:port"):
            with pytest.raises(client.UnreachableError) as caught:
                client.ask(bad, "/healthz", env=env)
            assert "secret" not in str(caught.value)
        with pytest.raises(client.UnreachableError, match="STREAMVITALS_TOKEN_FILE='/none' cannot be used"):
            client.ask(f"http://127.0.0.1:{ask.port}", "/healthz", env={"STREAMVITALS_TOKEN_FILE": "/none"})
    assert asked[0]["Authorization"] == basic("a", "b")
    assert client.root_of("https://a:b@h:1/x/metrics?y") == "https://h:1/x"
