"""Custom labels under `streamvitals run`: over workers that declare different ones, and what is said of bad ones."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from run_support import APPS, RUN, answered, environment, eventually, free_port, get, python, started, total

DECLARED = (
    "tenant=metadata:tenant,feature=code", "feature=code,tenant=metadata:tenant", "route=header:x-route", "",
    "tenant=metadata:tenant,route=header:x-route,feature=code",
)


def test_workers_that_declare_different_labels_are_counted_in_one_tree(server):
    command = python(str(APPS / "labels_script.py"), *DECLARED)
    env = environment(server.base_url, STREAMVITALS_LABELS="tenant=metadata:tenant")
    with started(command, env) as app:
        app.wait_for_agent()
        app.wait_for_streams("completed", len(DECLARED))
        text = get(app.url + "/metrics")
        seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
        found: dict[tuple[str, ...], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset((name, text) for name, text in sample.labels.items() if text)
                assert key not in seen, "Prometheus would refuse the scrape: a label without a value is none"
                seen.add(key)
                if sample.name == "streamvitals_streams_total" and sample.labels["outcome"] == "completed":
                    custom = tuple(sample.labels[name] for name in ("tenant", "feature", "route"))
                    found[custom] = sample.value
        assert found == {
            ("acme", "search", ""): 2, ("", "", "a b"): 1, ("", "", ""): 1, ("acme", "search", "a b"): 1,
        }
        # Whoever died since is in the sum of the dead, which another agent reads as well.
        assert app.process.wait() == 0
        assert total(app.samples(), "streamvitals_streams_total", tenant="acme", feature="search", route="") == 2


def test_a_killed_worker_and_an_open_stream_have_their_labels(server):
    code = """
import streamvitals, openai, os, time
client = openai.OpenAI(max_retries=0)
stream = client.chat.completions.create(
    model="sv-ok?chunks=500&gap=0.05", messages=[], stream=True, metadata={"tenant": "acme"}
)
next(stream)
print(os.getpid(), flush=True)
for _ in stream:
    pass
"""
    env = environment(server.base_url, STREAMVITALS_LABELS="tenant=metadata:tenant")
    with started(python("-c", code), env, stdout=subprocess.PIPE) as app:
        pid = int(app.process.stdout.readline())
        active = eventually(lambda: total(app.samples(), "streamvitals_streams_active", tenant="acme"), "it is open")
        assert active == 1
        os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: total(app.samples(), "streamvitals_streams_total", tenant="acme", outcome="abandoned"), "its end"
        )
        assert total(app.samples(), "streamvitals_streams_active", tenant="acme") == 0


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("outcome=code", "'outcome' is taken by another label"),
        ("key=header:X-Api-Key,tenant=metadata:tenant", "header:x-api-key may hold a secret and is never read"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_app_starts(server, tmp_path: Path, declared: str, says: str):
    env = environment(server.base_url, STREAMVITALS_LABELS=declared, STREAMVITALS_LINGER_SECONDS="0")
    script = str(APPS / "stream_script.py")
    done = subprocess.run(
        [*RUN, "--port", "0", "--", *python(script, "sv-ok")], env=env, capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("sv-ok ")
    assert done.stderr.count(says) == 1
    assert done.stderr.count("STREAMVITALS_LABELS") == 1


def test_a_scrape_of_prometheus_itself_is_accepted_in_every_format(server):
    command = python(str(APPS / "labels_script.py"), *DECLARED[:3])
    with started(command, environment(server.base_url)) as app:
        app.wait_for_agent()
        app.wait_for_streams("completed", 3)
        asked = urllib.request.Request(app.url + "/metrics", headers={"Accept": "application/openmetrics-text"})
        with urllib.request.urlopen(asked) as answer:
            text = answer.read().decode()
        assert text.endswith("# EOF\n")
        assert 'tenant="acme"' in text


def test_requests_of_a_server_keep_their_labels_apart(server):
    """Labels of a middleware reach tasks and threads, and none is left behind by a generator that is abandoned."""
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    command = python("-m", "uvicorn", "asgi_labels_app:app", "--port", str(port), "--log-level", "error")
    declared = "path=code,how=code,sent=header:x-path"
    with started(command, environment(server.base_url, STREAMVITALS_LABELS=declared), cwd=APPS) as app:
        eventually(lambda: answered(site + "/first"), "a server")
        paths = [f"/{kind}{number}" for number in range(4) for kind in ("task", "thread", "generator")] * 3
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda path: get(site + path), paths)) == {"ok"}
        # Those of generators may be open until somebody collects garbage.
        seen = ("streamvitals_streams_total", "streamvitals_streams_active")
        eventually(lambda: sum(total(app.samples(), one) for one in seen) > len(paths), "all of them")
        found = {
            tuple(dict(labels)[label] for label in ("path", "how", "sent"))
            for (name, labels), value in app.samples().items()
            if name in seen and value
        }
        for path, how, sent in found:
            assert how == ("generator" if path.startswith("/generator") else "")
            assert sent == ("" if path.startswith("/thread") else path)
        assert {path for path, _, _ in found} == {*paths, "/first"}
        app.process.send_signal(signal.SIGTERM)
        app.process.wait()
