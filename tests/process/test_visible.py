"""A failed stream is seen on stderr where the app shows nobody's log, and nowhere that it would do harm."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator

import pytest

from run_support import RUN, environment, python
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import visible
from streamvitals.system import console

STREAM = (
    "import openai\n"
    "client = openai.OpenAI(max_retries=0)\n"
    "try: list(client.chat.completions.create(model='sv-reset', messages=[{'role': 'user', 'content': 'hush'}],"
    " stream=True))\n"
    "except Exception: pass\n"
)
INSTRUMENT = "import streamvitals; streamvitals.instrument()\n"
UVICORN = "import logging.config, uvicorn.config; logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)\n"


def run(server: ThreadedFaultServer, code: str, **more: str) -> list[str]:
    """What a program that is run printed on stderr besides where its metrics are."""
    command = [*RUN, "--port", "0", "--", *python("-c", code)]
    env = environment(server.base_url, **more)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [line for line in done.stderr.splitlines() if "metrics are at" not in line]


@pytest.mark.parametrize("before", ["", UVICORN, INSTRUMENT], ids=["no logging", "uvicorn's logging", "instrument"])
def test_a_failed_stream_is_seen_where_nobody_set_up_logging(server: ThreadedFaultServer, before: str) -> None:
    if before == UVICORN:
        pytest.importorskip("uvicorn")
    (line,) = run(server, before + STREAM)
    assert line.startswith("streamvitals: stream reset (connection_reset): chat of sv-reset at 127.0.0.1 after 3 chunk")
    assert "; request: req_" in line
    assert "hush" not in line
    assert "token" not in line


@pytest.mark.parametrize(("before", "shown"), [
    ("import logging; logging.basicConfig()\n", ["WARNING:streamvitals:stream reset (connection_reset)"]),
    ("import logging; logging.getLogger('streamvitals').propagate = False\n", []),
    ("import logging; logging.getLogger('streamvitals').setLevel('ERROR')\n", []),
    ("import logging; logging.basicConfig(level='CRITICAL')\n", []),
])
def test_an_app_with_a_logging_of_its_own_has_the_say(
    server: ThreadedFaultServer, before: str, shown: list[str]
) -> None:
    assert [line.partition(": ")[0] for line in run(server, before + STREAM)] == shown


def test_it_is_off_when_asked(server: ThreadedFaultServer) -> None:
    assert run(server, STREAM, STREAMVITALS_QUIET="true") == []


def test_instrument_alone_shows_it_too(server: ThreadedFaultServer) -> None:
    env = environment(server.base_url)
    done = subprocess.run(python("-c", INSTRUMENT + STREAM), env=env, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("streamvitals: stream reset (connection_reset)")
    assert done.stderr.count("\n") == 1


def test_a_file_that_got_the_number_of_stderr_is_not_written_to(server: ThreadedFaultServer, tmp_path: str) -> None:
    path = f"{tmp_path}/own"
    daemon = f"import os\nos.close(2)\nassert os.open({path!r}, os.O_RDWR | os.O_CREAT) == 2\n"
    assert run(server, INSTRUMENT + daemon + STREAM) == []
    with open(path) as own:
        assert own.read() == ""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """No handler but ours, and a pipe for stderr; its end to read from."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    monkeypatch.setattr(console, "STDERR", writer)
    monkeypatch.setattr(logging.getLogger("streamvitals"), "parent", None)
    monkeypatch.setattr(console.say, "__defaults__", (writer,))
    visible.show()
    yield reader
    visible.hide()
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_nobody_reads_does_not_block_the_app(alone: int) -> None:
    logger = logging.getLogger("streamvitals")
    for number in range(3000):
        logger.warning("line %d of very many, which no pipe has room for", number)
    assert os.read(alone, 1 << 20).startswith(b"streamvitals: line 0 of")


def test_a_line_that_cannot_be_made_is_no_fault_of_the_apps(alone: int) -> None:
    logging.getLogger("streamvitals").warning("%d", "no number")
    with pytest.raises(BlockingIOError):
        os.read(alone, 1)


def test_showing_twice_is_once_and_hiding_takes_it_back() -> None:
    logger = logging.getLogger("streamvitals")
    before = list(logger.handlers)
    visible.show()
    visible.show()
    assert len(logger.handlers) == len(before) + 1
    visible.hide()
    assert logger.handlers == before
