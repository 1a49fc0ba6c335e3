"""A file of OTEL_CONFIG_FILE that would hold up the start is refused, before anything is made of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamvitals.config import bounds, declarative
from streamvitals.config.problems import of_variables

pytest.importorskip("opentelemetry.configuration")

HEAD = "file_format: '1.0'\ninstrumentation/development:\n  python:\n"


def laughs(depth: int = 12) -> str:
    """Ten to the power of ``depth`` values."""
    rest = [f"    m{i}: &m{i} {{v: [{', '.join([f'*m{i - 1}'] * 10)}]}}\n" for i in range(1, depth + 1)]
    return HEAD + "    m0: &m0 {v: x}\n" + "".join(rest)


def merges(depth: int = 60) -> str:
    rest = [f"    m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, depth + 1)]
    return HEAD + "    m0: &m0 {v: x}\n" + "".join(rest)


VALUES = f"it stands for more than {bounds.MOST_VALUES} values"
DEEP = f"it is nested more than {bounds.MOST_DEEP} deep"
BYTES = f"it has more than {bounds.MOST_BYTES} bytes"


@pytest.mark.parametrize(("name", "content", "why"), [
    ("o.yaml", laughs(), VALUES), ("o.yml", merges(), VALUES),
    ("o.yaml", HEAD + "    a: &a {b: *a}\n", "an alias in it names what it stands in"),
    ("o.yaml", HEAD + "    a: " + "[" * 50000, DEEP), ("o.json", '{"a":' * 100, DEEP),
    ("o.yaml", HEAD + "".join(f"    a{i}: 1\n" for i in range(9000)), VALUES),
    ("o.json", '{"a": [' + "1," * 50000 + "1]}", VALUES),
    ("o.yaml", HEAD + "    a: " + "1:" * 40000 + "1\n", "a value in it has more than 16384 characters"),
    ("o.yaml", "#" * 200000, BYTES), ("o.yaml", HEAD + "    a: *nothing\n", "it is no YAML, see line 4"),
], ids=[
    "aliases", "merges", "itself", "deep yaml", "deep json", "many in yaml", "many in json", "sexagesimal", "long",
    "unknown alias",
])
def test_what_stands_for_too_much_is_refused(tmp_path: Path, name: str, content: str, why: str) -> None:
    (tmp_path / name).write_text(content)
    (problem,) = of_variables({"OTEL_CONFIG_FILE": str(tmp_path / name)})
    assert f"cannot be used: {why}; the variables are used" in problem.what


@pytest.mark.parametrize(("make", "why"), [
    (os.mkfifo, "path is not a file"), (lambda path: path.symlink_to("/dev/zero"), "path is not a file"),
    (lambda path: path.symlink_to("/dev/tty"), "path is not a file"),
    (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40), BYTES),
])
def test_what_is_no_plain_file_is_never_waited_for(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    make(tmp_path / "o.yaml")
    (problem,) = of_variables({"OTEL_CONFIG_FILE": str(tmp_path / "o.yaml")})
    assert why in problem.what


def test_anchors_that_are_used_a_few_times_are_fine(tmp_path: Path) -> None:
    exporter = "&all {otlp_http: {endpoint: 'http://h:4318/v1/traces'}}"
    processors = "[{batch: {exporter: *all}}, {simple: {exporter: *all}}]"
    text = f"file_format: '1.0'\nx-all: {exporter}\ntracer_provider: {{processors: {processors}}}"
    (tmp_path / "o.yaml").write_text(text)
    found = declarative.source({"OTEL_CONFIG_FILE": str(tmp_path / "o.yaml")})
    assert (found.faults, found.env["OTEL_TRACES_EXPORTER"]) == ((), "otlp")


def test_a_file_that_cannot_be_used_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "o.yaml").write_text(laughs())
    env = {"OTEL_CONFIG_FILE": str(tmp_path / "o.yaml")}
    read: list[str] = []
    real = bounds._read
    monkeypatch.setattr(bounds, "_read", lambda path: real(read.append(path) or path))
    assert len({str(declarative.source(env).faults) for _ in range(3)}) == 1
    assert read == [env["OTEL_CONFIG_FILE"]]
