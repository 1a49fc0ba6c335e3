"""`streamvitals faults` as a stranger uses it: a program, a socket, the openai SDK."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from run_support import environment

COMMAND = [sys.executable, "-m", "streamvitals", "faults"]
MIX = "reset=0.25,silent-cut?after=2=0.2,429=0.1"


@contextmanager
def served(*arguments: str, end: signal.Signals = signal.SIGTERM) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The base URL of the command, and its process; it ends cleanly and silently."""
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.send_signal(end)
        assert (process.wait(), process.stderr.read()) == (0, "")


def heard(client: openai.OpenAI, model: str = "gpt-4o", **more: object) -> str:
    """What a program makes of a stream: how many chunks, or the exception's name."""
    try:
        with client.chat.completions.create(model=model, messages=[], stream=True, **more) as stream:  # type: ignore[call-overload]
            return str(sum(1 for _ in stream))
    except openai.OpenAIError as error:
        return type(error).__name__


def sequence(url: str, count: int) -> list[str]:
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        return [heard(client) for _ in range(count)]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_one_line_with_the_url_and_a_clean_end_also_with_a_stream_open(end: signal.Signals) -> None:
    with served(end=end) as (url, process), openai.OpenAI(base_url=url, api_key="any") as client:
        assert url == f"http://127.0.0.1:{client.base_url.port}/v1"
        stream = client.chat.completions.create(model="sv-stall?after=1&stall=600", messages=[], stream=True)
        next(iter(stream))
        process.send_signal(end)
        assert process.stdout is not None
        assert process.stdout.read() == ""
        stream.close()


def test_by_environment_with_any_key_by_model_header_body_and_without_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as (url, _):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        with openai.OpenAI(max_retries=0) as client:
            assert heard(client) == "9"
            assert heard(client, "sv-silent-cut?after=4") == "4"
            assert heard(client, "429") == "RateLimitError"
            assert heard(client, extra_headers={"sv-scenario": "reset"}) == "APIConnectionError"
            assert heard(client, extra_body={"sv_scenario": "500"}) == "InternalServerError"
            assert heard(client, "sv-nothing") == "BadRequestError"
            whole = client.chat.completions.create(model="gpt-4o", messages=[])
            assert whole.choices[0].message.content == "token " * 8
            assert {"sv-ok", "sv-stall"} < {model.id for model in client.models.list()}
            assert client.models.retrieve("gpt-4o").id == "gpt-4o"


def test_the_same_seed_draws_the_same_sequence() -> None:
    found = []
    for seed in ("7", "7", "8"):
        with served("--mix", MIX, "--seed", seed) as (url, _):
            found.append(sequence(url, 40))
    assert found[0] == found[1] != found[2]
    assert set(found[0]) == {"9", "2", "APIConnectionError", "RateLimitError"}


def test_one_model_fails_and_the_one_to_fall_back_to_does_not() -> None:
    options = ("--model", "gpt-4o=429", "--model", "gpt-4o-mini=ok?chunks=2", "--mix", "500=1")
    with served(*options) as (url, _), openai.OpenAI(
        base_url=url, api_key="any", max_retries=0
    ) as client:
        found = [heard(client, model) for model in ("gpt-4o", "gpt-4o-mini", "o3")]
    assert found == ["RateLimitError", "3", "InternalServerError"]


def test_what_the_rest_of_the_requests_gets() -> None:
    with served("--mix", "429=0.0", "--otherwise", "ok?chunks=3") as (url, _):
        assert sequence(url, 3) == ["4"] * 3


def test_the_log(tmp_path: Path) -> None:
    log, port_file = tmp_path / "log", tmp_path / "port"
    with served("--log", str(log), "--port-file", str(port_file), "--mix", "silent-cut=1") as (url, _):
        assert sequence(url, 2) == ["3", "3"]
        assert f":{int(port_file.read_text())}/" in url
    assert [(entry["scenario"], entry["ended"]) for entry in map(json.loads, log.read_text().splitlines())] == [
        ("silent-cut", "complete")
    ] * 2
    with served("--log", "-") as (url, process):
        assert sequence(url, 1) == ["9"]
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["chunks"] == 9


def test_the_list() -> None:
    done = subprocess.run([*COMMAND, "--list"], env=environment(), capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    (reset,) = (line for line in lines if line.startswith("reset-after-n, reset "))
    assert "reset (connection_reset)" in reset
    assert any(line.startswith("failed ") and "responses" in line for line in lines)
    assert any(line.split()[:1] == ["after"] for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mix", "rset=1"], "unknown scenario 'rset'"),
        (["--mix", "break=1"], "unknown scenario 'break'"),
        (["--mix", "reset?aftr=1=0.5"], "unknown parameter 'aftr'"),
        (["--mix", "reset"], "'reset' is no share"),
        (["--mix", "=0.5"], "'=0.5' is no share"),
        (["--mix", "reset=half"], "'half' is no number"),
        (["--mix", "reset=nan"], "the share of reset is nan"),
        (["--mix", "reset=-0.1"], "the share of reset is -0.1"),
        (["--mix", "reset=0.6,stall=0.6"], "the shares add up to 1.2"),
        (["--mix", "reset=0.1,reset=0.1"], "reset is listed twice"),
        (["--model", "gpt-4o"], "'gpt-4o': a model and a scenario are needed"),
        (["--model", "gpt-4o=rset"], "unknown scenario 'rset'"),
        (["--otherwise", "fine"], "unknown scenario 'fine'"),
        (["--seed", "x"], "'x' is not a valid integer"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--host", "nowhere.invalid"], "cannot serve on nowhere.invalid:0"),
        (["--log", "/nowhere/log"], "/nowhere/log"),
        (["--port-file", "/nowhere/port"], "/nowhere/port"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_said_and_exit_code_2(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken() -> None:
    with served() as (url, _):
        port = url.rpartition(":")[2].removesuffix("/v1")
        done = subprocess.run(
            [*COMMAND, "--port", port], env=environment(), capture_output=True, text=True, check=False, timeout=60
        )
    assert (done.returncode, f"cannot serve on 127.0.0.1:{port}" in done.stderr) == (2, True), done.stderr


def test_it_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, streamvitals.faults.serve\n"
        "loaded = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in loaded if not name.startswith('_')))\n"
    )
    source = os.fspath(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['streamvitals']"


def test_a_file_for_the_port_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    command = [*COMMAND, "--port-file", str(tmp_path / "none" / "port")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--port-file: {tmp_path / 'none' / 'port'}: No such file or directory" in done.stderr


def test_a_full_disk_ends_the_log_and_not_the_answers() -> None:
    with subprocess.Popen(
        [*COMMAND, "--log", "/dev/full"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert sequence(url, 3) == [sequence(url, 1)[0]] * 3
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert errors == "the log cannot be written any more: No space left on device\n"
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [("faults", "--list"), ("alerts",), ("doctor",)])
def test_output_that_cannot_be_written_is_one_line(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "streamvitals", *arguments]
        done = subprocess.run(command, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == ["streamvitals: No space left on device"]
    assert "Traceback" not in done.stderr
