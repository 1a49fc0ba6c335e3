"""STREAMVITALS_JOURNAL under `run`: stdout, a pipe that nobody reads, what only the app cannot write."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from doctor_support import doctor
from run_support import environment, eventually, python, started

STREAM = """
import os, sys, openai
{first}
client = openai.OpenAI(max_retries=0)
for _ in range(4):
    for _ in client.chat.completions.create(model="sv-ok", messages=[], stream=True): pass
    print("app's own", flush=True)
{last}
sys.stdin.readline()
"""


def app(first: str = "", last: str = "") -> list[str]:
    return python("-c", STREAM.format(first=first, last=last))


@pytest.mark.parametrize("sink", ["pipe", "file"])
def test_a_journal_on_stdout_is_in_the_apps_own_output(server, tmp_path, sink):
    env = environment(server.base_url, STREAMVITALS_JOURNAL="/dev/stdout")
    with open(tmp_path / "out", "wb") as out:
        stdout = subprocess.PIPE if sink == "pipe" else out
        with started(app(), env, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE) as run:
            text, errors = run.process.communicate(b"\n")
    lines = (text or (tmp_path / "out").read_bytes()).decode().splitlines()
    assert lines[1::2] == ["app's own"] * 4
    assert [json.loads(line)["outcome"] for line in lines[0::2]] == ["completed"] * 4
    assert len(errors.splitlines()) == 1, errors


def refusals(errors: bytes) -> list[str]:
    return [line for line in errors.decode().splitlines() if "journal" in line.lower()]


@pytest.mark.parametrize(("make", "first"), [
    (os.mkfifo, ""),
    (lambda path: Path(path).mkdir(), ""),
    # Known to the app alone: it has become somebody else, or its folder has gone.
    (lambda path: Path(path).write_text(""), "import os; os.remove(os.environ['STREAMVITALS_JOURNAL']); "
                                            "os.mkdir(os.environ['STREAMVITALS_JOURNAL'])"),
])
def test_a_journal_that_cannot_be_written_is_said_once_and_shown(server, tmp_path, make, first):
    path = str(tmp_path / "journal")
    make(path)
    env = environment(server.base_url, STREAMVITALS_JOURNAL=path)
    with started(app(first), env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.wait_for_agent()
        found = eventually(lambda: [p for p in run.health()["problems"] if "journal" in p["what"]])
        assert len(found) == 1, found
        assert "journal" in doctor("--url", run.url).find("journal")["what"]
        out, errors = run.process.communicate(b"\n")
    assert out.count(b"app's own") == 4
    assert len(refusals(errors)) == 1, errors


GONE = """
import os, shutil, tempfile
os.chdir(tempfile.mkdtemp())
os.rmdir(os.getcwd())
"""


@pytest.mark.parametrize("first", [GONE, "import os, tempfile; os.chdir(tempfile.mkdtemp())"], ids=["gone", "another"])
def test_a_relative_journal_lies_where_the_user_was_wherever_the_app_goes(server, tmp_path, first):
    env = environment(server.base_url, STREAMVITALS_JOURNAL="journal.jsonl")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with started(app(first), env, cwd=tmp_path, **pipes) as run:
        run.wait_for_agent()
        run.wait_for_streams("completed", 4)
        _, errors = run.process.communicate(b"\n")
    assert refusals(errors) == []
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 4


def test_doctor_and_instrument_say_that_a_relative_journal_cannot_be_written_there(server, tmp_path):
    env = environment(server.base_url, STREAMVITALS_JOURNAL="journal.jsonl")
    program = f"{GONE}\nimport streamvitals; streamvitals.instrument(); print('went on')"
    done = subprocess.run(python("-c", program), env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "went on\n"
    assert len(refusals(done.stderr.encode())) == 1
    code = f"{GONE}\nfrom streamvitals.config.problems import of_journal; print(*of_journal('journal.jsonl'))"
    done = subprocess.run(python("-c", code), env=env, capture_output=True, text=True, check=True)
    assert "the working directory has been removed" in done.stdout
