"""The live page and `streamvitals top` in an incident, for their pictures and tests: python -m demo.live docs

One model is fine; of another, one stream in three is reset; a third falls silent in the midst of its answers.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from streamvitals.faults import Mix, ThreadedFaultServer

APP = Path(__file__).with_name("live_app.py")
FINE = "ok?chunks=150&gap=0.12&first=0.6"
MODELS = {"gpt-4o": FINE, "gpt-4o-mini": "ok?chunks=60&gap=0.05&first=0.3", "o4-mini": FINE}
USERS = {"gpt-4o": 5, "gpt-4o-mini": 4, "o4-mini": 3}


@contextlib.contextmanager
def playing(users: dict[str, int] = USERS, **variables: str) -> Iterator[tuple[ThreadedFaultServer, str]]:
    """An app under `streamvitals run` and the server that it asks; yields the server, and the page's address."""
    with ThreadedFaultServer() as server:
        server.by_model.update({model: MODELS.get(model, FINE) for model in users})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMVITALS_"))}
        env |= {
            "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "any", "NO_PROXY": "127.0.0.1",
            "STREAMVITALS_QUIET": "true", "STREAMVITALS_LABELS": "tenant=code", "STREAMVITALS_LINGER_SECONDS": "1",
            "STREAMVITALS_PROVIDERS": "127.0.0.1=openai", **variables,
        }
        run = [sys.executable, "-m", "streamvitals", "run", "--port", str(port), "--"]
        asked = [f"{model}={count}" for model, count in users.items()]
        with subprocess.Popen([*run, sys.executable, str(APP), *asked], env=env) as app:  # noqa: S603  our own
            try:
                url = f"http://localhost:{port}/"
                _wait_for(url + "healthz")
                yield server, url
            finally:
                app.kill()


def _wait_for(url: str, patience: float = 60.0) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310  http
            return
        time.sleep(0.1)
    raise TimeoutError(f"{url} is not served")


def break_things(server: ThreadedFaultServer) -> None:
    """Let the incident begin."""
    server.by_model["gpt-4o"] = Mix.parse("reset?after=40&gap=0.1=0.4", seed=3, otherwise=FINE)
    server.by_model["o4-mini"] = Mix.parse("stall-then-fine?after=30&gap=0.1&stall=45=0.9", seed=5, otherwise=FINE)
