"""The entry point for opentelemetry-instrument."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streamvitals
from otel_support import SRC, run_script
from streamvitals.config import ConfigError

pytest.importorskip("opentelemetry.instrumentation.instrumentor")

from streamvitals.instrumentor import StreamvitalsInstrumentor

PYPROJECT = SRC.parent / "pyproject.toml"


class Calls(list[Any]):
    """What instrument() and uninstrument() were called with; they raise ``error`` if there is one."""

    error: Exception | None = None

    def note(self, name: str, **kwargs: Any) -> None:
        self.append((name, kwargs))
        if self.error is not None:
            raise self.error


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    made = Calls()
    monkeypatch.setattr(streamvitals, "instrument", lambda **kwargs: made.note("instrument", **kwargs))
    monkeypatch.setattr(streamvitals, "uninstrument", lambda **kwargs: made.note("uninstrument", **kwargs))
    return made


@pytest.fixture
def instrumentor() -> Iterator[StreamvitalsInstrumentor]:
    one = StreamvitalsInstrumentor()
    yield one
    one._is_instrumented_by_opentelemetry = False  # it is a singleton


def test_the_providers_are_handed_on(calls: Calls, instrumentor: StreamvitalsInstrumentor) -> None:
    instrumentor.instrument(tracer_provider="traces", meter_provider="metrics")
    instrumentor.uninstrument()
    assert calls == [
        ("instrument", {"tracer_provider": "traces", "meter_provider": "metrics"}), ("uninstrument", {}),
    ]


def test_without_providers_the_environment_decides(calls: Calls, instrumentor: StreamvitalsInstrumentor) -> None:
    instrumentor.instrument()
    assert calls == [("instrument", {"tracer_provider": None, "meter_provider": None})]


def test_a_global_meter_provider_is_used(
    calls: Calls, instrumentor: StreamvitalsInstrumentor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", "global")
    instrumentor.instrument()
    assert calls == [("instrument", {"tracer_provider": None, "meter_provider": "global"})]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("OTEL_X='y' is not allowed: z"), "OTEL_X='y' is not allowed: z"),
        (ImportError("secret"), "ImportError"),
        (ZeroDivisionError("secret"), "ZeroDivisionError"),
    ],
)
def test_it_never_raises(
    error: Exception, said: str, calls: Calls, instrumentor: StreamvitalsInstrumentor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls.error = error
    caplog.set_level(logging.WARNING)
    instrumentor.instrument()
    instrumentor.uninstrument()
    assert [name for name, _ in calls] == ["instrument", "uninstrument"]
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert said in warnings[0]
    assert not any("secret" in w for w in warnings)


def test_what_it_needs() -> None:
    assert list(StreamvitalsInstrumentor().instrumentation_dependencies()) == ["openai >= 1.8"]
    assert StreamvitalsInstrumentor()._check_dependency_conflicts() is None


def test_the_entry_point_names_it() -> None:
    section = PYPROJECT.read_text().partition("[project.entry-points.opentelemetry_instrumentor]\n")[2]
    assert section.splitlines()[0] == 'streamvitals = "streamvitals.instrumentor:StreamvitalsInstrumentor"'


def test_the_extra_that_the_loader_looks_for() -> None:
    # Without it, old versions of opentelemetry-instrument load no instrumentor at all.
    section = PYPROJECT.read_text().partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    assert 'instruments = ["openai>=1.8"]' in section.splitlines()


def test_without_the_package_it_says_what_is_missing() -> None:
    run_script(
        """
        import sys
        sys.modules["opentelemetry.instrumentation"] = None
        try:
            import streamvitals.instrumentor
        except ImportError as error:
            assert "pip install opentelemetry-instrumentation" in str(error), error
        else:
            raise AssertionError
        """
    )


PROGRAM = """
import sys
from streamvitals.process import lifecycle
assert "openai" not in sys.modules, "it was imported before the program did"
assert lifecycle.current() is not None
import openai
patched, = {build[2] for build in lifecycle.current().snapshot().builds}
print("patched:", patched)
"""


def test_opentelemetry_instrument_loads_it(tmp_path: Path) -> None:
    installed = tmp_path / "site"
    info = installed / "streamvitals-0.dist-info"
    info.mkdir(parents=True)
    extra = 'Provides-Extra: instruments\nRequires-Dist: openai>=1.8; extra == "instruments"\n'
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: streamvitals\nVersion: 0\n{extra}")
    entry = "streamvitals = streamvitals.instrumentor:StreamvitalsInstrumentor"
    (info / "entry_points.txt").write_text(f"[opentelemetry_instrumentor]\n{entry}\n")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # As its console script does; what it executes inherits the path.
    done = run_script(
        f"""
        import os, sys
        os.environ["PYTHONPATH"] = {str(installed)!r} + os.pathsep + os.environ["PYTHONPATH"]
        sys.path.insert(0, {str(installed)!r})
        sys.argv = ["opentelemetry-instrument", sys.executable, {str(program)!r}]
        from opentelemetry.instrumentation.auto_instrumentation import run
        run()
        """,
        warnings="default",  # old versions of it import pkg_resources
        OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none",
    )
    assert done.stdout.split() == ["patched:", "true"], done.stderr
    assert "Error" not in done.stderr, done.stderr
