"""Observing executes no more instructions, and holds no more memory, than is on record; and who judges that judges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import instructions
from bench.callgrind import C_LIBRARY, read
from environment_support import made

ROOT = Path(__file__).resolve().parents[2]
ROWS = {"per chunk": 10_000.0, "per stream": 500_000.0, "bytes per open stream": 2400.0}
MISSING = shutil.which("valgrind") is None and os.environ.get("CI") != "true"


@pytest.mark.skipif(MISSING, reason="not installed: valgrind")
def test_nothing_costs_more_than_is_on_record() -> None:
    made(instructions.FOLDER, instructions.PINNED)
    command = (sys.executable, "-m", "bench.instructions")
    done = subprocess.run(command, cwd=ROOT, stdout=-1, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout


def verdict(measured: Mapping[str, float], recorded: Mapping[str, float] = ROWS, build: str = "") -> int:
    section = {"python": build or instructions.build(), "rows": recorded}
    return instructions.verdict(measured, {instructions.section(): section})


@pytest.mark.parametrize("row", ["per failing stream: 429, sync", "per call without a stream: chat, sync"])
def test_a_row_that_timers_disturb_may_grow_more(row: str) -> None:
    recorded = {row: 500_000.0}
    assert verdict({row: 540_000.0}, recorded) == 0
    assert verdict({row: 560_000.0}, recorded) == 1


@pytest.mark.parametrize("row", ROWS)
def test_five_percent_more_is_red_and_says_so(row: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(ROWS) == 0
    assert verdict({**ROWS, row: ROWS[row] * 1.02}) == 0
    capsys.readouterr()
    assert verdict({**ROWS, row: ROWS[row] * 1.05}) == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"{row}: grew from {ROWS[row]:,.0f} to {ROWS[row] * 1.05:,.0f} (+5.0%)")
    assert "make instructions ARGS=--write" in said
    assert "bench/instructions.json" in said


def test_less_is_not_red_but_is_to_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict({**ROWS, "per chunk": 9_500.0}) == 0
    assert "per chunk: shrank from 10,000 to 9,500 (-5.0%); please record it" in capsys.readouterr().out


def test_a_row_cannot_hide(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict({**ROWS, "new": 1.0}) == 1
    assert "new: not on record" in capsys.readouterr().out
    assert verdict({"per chunk": ROWS["per chunk"]}) == 1
    assert "per stream: on record, but not measured" in capsys.readouterr().out


def test_another_python_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    worse = {row: 2 * figure for row, figure in ROWS.items()}
    assert instructions.verdict(worse, {}) == 0
    assert "not judged: there is no section" in capsys.readouterr().out
    assert verdict(worse, build="3.11.0 of somebody else's") == 0
    assert "not judged: recorded with another build" in capsys.readouterr().out


def test_the_record_can_be_read() -> None:
    for section in json.loads(instructions.RECORD.read_text()).values():
        assert section["python"]
        assert all(figure > 0 for figure in section["rows"].values())


def test_what_callgrind_writes_is_read() -> None:
    label, counts = read("""\
desc: Trigger: Client Request: chat 20 1 on
events: Ir
ob=(1) /lib/libpython3.11.so
fl=(1) ceval.c
fn=(1) eval
10 100
+2 20
cob=(2) /lib/libc.so.6
cfn=(2) memcpy
calls=3 0
* 999
cfn=(3) _PyObject_Malloc
calls=2 0
-3 888
cfn=(4) dict_new
calls=1 0
5 777

fn=(3)
0 70
ob=(2)
fn=(2)
0 900
ob=(1)
fn=(4)
7 7
totals: 1097
""".splitlines())
    assert label == "chat 20 1 on"
    expected = {"eval": 120, "dict_new": 7, "calls of memcpy": 3 * C_LIBRARY, "calls of _PyObject_Malloc": 60}
    assert {function: count for function, count in counts.items() if count} == expected
