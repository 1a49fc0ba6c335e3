"""`instrument()` puts its numbers where the app's own prometheus_client is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_support import run_script

SCRIPT = """
import os
from prometheus_client import CollectorRegistry, REGISTRY, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
{before}
import streamvitals
from otel_support import record
from streamvitals.process import lifecycle
from streamvitals.stream.dispatch import Start
streamvitals.instrument()
started, ended = lifecycle.current(), record()
started.submit(Start(ended.labels))
started.submit(ended)
files, path = CollectorRegistry(), {path!r}
MultiProcessCollector(files, path)
print(*("streamvitals_streams_total{{" in generate_latest(registry).decode() for registry in (files, REGISTRY)))
"""


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_multiprocess_mode_by_either_spelling(tmp_path: Path, name: str) -> None:
    # Of the older one prometheus_client itself warns.
    done = run_script(SCRIPT.format(before="", path=str(tmp_path)), warnings="ignore", **{name: str(tmp_path)})
    assert done.stdout == "True False\n"


def test_what_is_left_out_is_not_in_the_files(tmp_path: Path) -> None:
    script = SCRIPT + "print('stream_duration' in generate_latest(files).decode())\n"
    told = script.format(before="", path=str(tmp_path))
    some = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "STREAMVITALS_METRICS": "-durations,-open"}
    assert run_script(told, **some).stdout == "True False\nFalse\n"


def test_a_variable_that_is_set_too_late_is_no_mode(tmp_path: Path) -> None:
    before = f"os.environ['PROMETHEUS_MULTIPROC_DIR'] = {str(tmp_path)!r}"
    assert run_script(SCRIPT.format(before=before, path=str(tmp_path))).stdout == "False True\n"
