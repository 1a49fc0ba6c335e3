"""Runs the probe in the app's interpreter: injection, packages, connectivity."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..agent import private_directory
from ..config import Config, install
from ..config.problems import of_exporter
from ..run.interpreter import Interpreter
from ..run.launch import INJECT, injected
from ..sdk.versions import OPENAI
from .check import FAIL, GIVE_PYTHON, OK, WARN, Check

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROBE = os.path.join(PACKAGE, "doctor", "probe.py")
# Keep `uv run` from syncing or changing the environment.
_UNTOUCHED = {"UV_NO_SYNC": "1", "UV_FROZEN": "1", "UV_OFFLINE": "1"}
# Importing openai takes a second, on a small machine several.
PROBE_TIMEOUT = 60.0
OTLP_PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")

_FIX_IN_FRONT = "have that sitecustomize import the next one, or call streamvitals.instrument() in the program"

CONNECT = {
    "ok": (OK, "answers, and takes the key", ""),
    "401": (FAIL, "refuses the key (401)", "check OPENAI_API_KEY"),
    "403": (FAIL, "refuses the key for this (403)", "check the key's project and permissions"),
    "404": (FAIL, "answers, but has no models list (404)", "check OPENAI_BASE_URL; often the /v1 is missing"),
    "429": (WARN, "is reached, but the rate limit or quota is used up (429)", "check the account's limits"),
    "refused": (FAIL, "refuses the connection", "is the server up, and is the port right?"),
    "dns": (FAIL, "is no name that can be resolved", "check the host in OPENAI_BASE_URL, and the resolver"),
    "tls": (FAIL, "fails the TLS handshake", "check its certificate, SSL_CERT_FILE, and http against https"),
    "proxy": (FAIL, "is not reached through the proxy", "check HTTPS_PROXY and NO_PROXY"),
    "timeout": (FAIL, "does not answer in time", "check firewalls and the host in OPENAI_BASE_URL"),
    "no connection": (FAIL, "cannot be connected to", "check OPENAI_BASE_URL and the network"),
    "no key": (FAIL, "cannot be asked: the SDK makes no client without a key", "set OPENAI_API_KEY"),
    "no socks": (
        FAIL, "cannot be asked: a SOCKS proxy is set, and httpx has no support for it", "pip install socksio there"
    ),
    "bad proxy": (FAIL, "cannot be asked: httpx takes no such proxy", "check ALL_PROXY, HTTPS_PROXY and HTTP_PROXY"),
    "no client": (FAIL, "cannot be asked: the SDK makes no client", "see what `openai.OpenAI()` raises there"),
}


def check_interpreter(interpreter: Interpreter, config: Config, env: Mapping[str, str]) -> Iterator[Check]:
    """Check whether it would be watched, and whether its openai can be patched."""
    try:
        found = probe(interpreter, env, "look", inside=True)
    except (OSError, ValueError) as error:
        yield _does_not_run(interpreter, error)
        return
    yield from _check_injection(interpreter, found)
    yield from _check_packages(config, found)


def check_openai_only(interpreter: Interpreter, config: Config, env: Mapping[str, str]) -> Iterator[Check]:
    """Check what is installed, where nothing can be watched for a reason reported above."""
    try:
        found = probe(interpreter, env, "look", inside=False)
    except (OSError, ValueError) as error:
        yield _does_not_run(interpreter, error)
        return
    yield from _check_packages(config, found)


def _does_not_run(interpreter: Interpreter, error: Exception) -> Check:
    if interpreter.before:
        name = os.path.basename(interpreter.before[0])
        return Check(WARN, f"what Python {name} starts is not known here: it does not answer", GIVE_PYTHON)
    return Check(FAIL, f"{interpreter.path} does not run: {error}", "check that interpreter")


def _check_packages(config: Config, found: Mapping[str, Any]) -> Iterator[Check]:
    if found["version"] < [3, 10]:
        return
    packages: dict[str, str] = found["packages"]
    yield from _check_openai(found, packages)
    yield from _check_otlp(config, packages)
    yield from _check_redaction(config, found)
    shown = ", ".join(f"{name} {number}" for name, number in packages.items() if name != "openai" and number != "0")
    if shown:
        yield Check(OK, f"installed beside it: {shown}")
    if found["others"]:
        others = ", ".join(f"{name} {number}" for name, number in found["others"].items())
        yield Check(OK, f"other instrumentations are installed, and run as before: {others}")


def _check_injection(interpreter: Interpreter, found: Mapping[str, Any]) -> Iterator[Check]:
    name = f"Python {found['python']} ({found['executable']})"
    if found["version"] < [3, 10]:
        yield Check(FAIL, f"{name} is older than 3.10 and is not watched", "use Python 3.10 or newer")
    elif found["injected"]:
        yield Check(OK, f"{name} is watched")
        if found["sitecustomize"] and os.path.dirname(found["sitecustomize"]) != INJECT:
            yield Check(OK, f"its own {found['sitecustomize']} runs as before")
    elif set(interpreter.flags) & set("IES"):
        fix = "run it without, or call streamvitals.instrument() in the program"
        letters = " ".join(f"-{letter}" for letter in interpreter.flags if letter in "IES")
        yield Check(FAIL, f"{name} is not watched: {letters} keeps it out", fix)
    elif not found["has_directory"]:
        # Only the name of the command in front: its arguments may hold values, as in `env KEY=...`.
        by = os.path.basename(interpreter.before[0]) if interpreter.before else "what is in front"
        fix = f"put `streamvitals run --` behind {by}, or have it hand on PYTHONPATH and STREAMVITALS_DIR"
        yield Check(FAIL, f"{name} is not watched: {by} clears the environment", fix)
    elif not found["on_path"]:
        fix = "keep what PYTHONPATH held when it is set anew"
        yield Check(FAIL, f"{name} is not watched: PYTHONPATH was replaced", fix)
    else:
        in_front = f": {found['sitecustomize']} stands in front" if found["sitecustomize"] else ""
        yield Check(FAIL, f"{name} is not watched{in_front}", _FIX_IN_FRONT)


def _check_openai(found: Mapping[str, Any], packages: Mapping[str, str]) -> Iterator[Check]:
    if "openai" not in packages:
        yield Check(WARN, "openai is not installed there", f"install it where it is used ({OPENAI.supported})")
    elif "import_error" in found:
        fix = "see what `python -c 'import openai'` says"
        yield Check(FAIL, f"openai {packages['openai']} cannot be imported: {found['import_error']}", fix)
    elif found["problems"]:
        # If the version is not supported, the other problems follow from that.
        yield Check(FAIL, found["problems"][0], f"install {OPENAI.supported}")
    else:
        yield Check(OK, f"openai {packages['openai']}, every patch point is there (supported: {OPENAI.supported})")


def _check_otlp(config: Config, packages: Mapping[str, str]) -> Iterator[Check]:
    missing = [name for name in OTLP_PACKAGES if name not in packages]
    if config.otlp_traces and missing:
        what = "OTLP spans are asked for; the app's environment lacks " + ", ".join(missing)
        yield Check(FAIL, what, install.there("otlp"))
    yield from (Check(FAIL, *problem[:2]) for problem in of_exporter(config, sys.path))
    if config.http_spans and "opentelemetry-instrumentation-httpx" not in packages:
        what = "STREAMVITALS_HTTP_SPANS is set; what makes them is not installed there"
        yield Check(FAIL, what, install.there("http-spans"))


def _check_redaction(config: Config, found: Mapping[str, Any]) -> Iterator[Check]:
    if not (config.capture_partial and config.redact):
        return
    if found["redact"]:
        what = f"the redaction hook {config.redact} cannot be used ({found['redact']}): no text is captured"
        yield Check(FAIL, what, "make it importable there, or unset STREAMVITALS_CAPTURE_PARTIAL")
    else:
        yield Check(OK, f"the redaction hook {config.redact} is there")


def check_connection(interpreter: Interpreter, env: Mapping[str, str], timeout: float) -> Check:
    """Check through the SDK itself whether the configured server is reached and takes the key."""
    try:
        answer = probe(interpreter, env, "connect", inside=False, timeout=timeout)
    except (OSError, ValueError):
        return Check(FAIL, "the connection cannot be tried without openai", "see the lines above")
    result = answer["result"]
    status, what, fix = CONNECT.get(
        result, (FAIL, f"answers with {result} {answer.get('error', '')}".rstrip(), "check OPENAI_BASE_URL")
    )
    if result == "no client" and answer.get("error"):
        what = f"{what} ({answer['error']})"
    return Check(status, f"{answer['host'] or 'the server'} {what}", fix)


def probe(
    interpreter: Interpreter, env: Mapping[str, str], what: str, *, inside: bool, timeout: float = 10.0
) -> dict[str, Any]:
    """Run probe.py in that Python; ``inside``: as it would be under `run`. Raises OSError, ValueError."""
    code = Path(PROBE).read_text()
    arguments = [*interpreter.before, interpreter.path, *interpreter.options, "-c", code, what, PACKAGE, str(timeout)]
    directory = private_directory.create(env) if inside else ""
    try:
        done = subprocess.run(  # noqa: S603  the user's own interpreter
            arguments, env={**env, **_UNTOUCHED, **(injected(env, directory) if inside else {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT + timeout, check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError("it did not answer") from error
    finally:
        if directory:
            private_directory.remove(directory)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1] if done.stdout else b"")
    return answer
