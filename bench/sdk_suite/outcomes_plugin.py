"""A pytest plugin, loaded into the SDK's own test run: leaves out what cannot run offline from a source
distribution, and writes down how each test ended and whether streamvitals was there.

Runs in an environment that has the SDK and its test requirements only.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections import Counter
from typing import Any, TextIO

_OFFLINE_FIXTURES = {"respx_mock", "respx2_mock"}


def why_not(item: Any) -> str:
    """Why a test cannot run here; "" if it can."""
    path, name = item.nodeid.partition("::")[0], item.name
    resource = path.startswith("tests/api_resources/") or path.endswith("test_fine_tuning_positional_arguments.py")
    source = _source(item)
    # Generated, one for every method of the API. Those that check a path parameter raise before they ask
    # anybody; those that stream open, parse and close what answers.py can give.
    alone = "path_params" in name or "stream=True" in source or _OFFLINE_FIXTURES & set(item.fixturenames)
    if resource and not alone:
        return "needs the mock server that is made from the API's specification"
    if "external(" in source:
        return "needs recorded answers (.inline-snapshot) that the distribution does not carry"
    if path in ("tests/test_uv_workflows.py", "tests/test_dependency_constraints.py"):
        return "needs the SDK's repository"
    if "mtls_example" in name:
        return "needs httpx2, which this version does not require"
    return ""


def _source(item: Any) -> str:
    try:
        return inspect.getsource(item.function)
    except (AttributeError, OSError, TypeError):
        return ""


class Outcomes:
    """One line of JSON per phase of a test that says something, one with totals at the end."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._left_out: Counter[str] = Counter()

    def _write(self, **line: object) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        kept: list[Any] = []
        dropped: list[Any] = []
        for item in items:
            reason = why_not(item)
            (dropped if reason else kept).append(item)
            if reason:
                self._left_out[reason] += 1
        items[:] = kept
        config.hook.pytest_deselected(items=dropped)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._write(test=report.nodeid, outcome="not collected")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome = "error" if report.when != "call" and report.failed else report.outcome
            if hasattr(report, "wasxfail"):
                outcome = "x" + outcome
            self._write(test=report.nodeid, outcome=outcome)

    def pytest_sessionfinish(self) -> None:
        self._write(left_out=self._left_out, **_observer())


def _observer() -> dict[str, object]:
    streaming = sys.modules.get("openai._streaming")
    init = getattr(getattr(streaming, "Stream", None), "__init__", None)
    # Its __name__ is that of what it wraps.
    code = getattr(init, "__code__", None)
    told: dict[str, object] = {"active": getattr(code, "co_name", "") == "streamvitals_init"}
    if told["active"]:
        from streamvitals import names
        from streamvitals.process import lifecycle
        from streamvitals.store.layout import PROCESS_LAYOUT, STREAM_LAYOUT

        found = lifecycle.current()
        if found is not None:
            snapshot = found.snapshot()
            counters = [STREAM_LAYOUT.at(names.STREAMS, *ends) for ends in names.OUTCOME_RESULTS]
            faults = [PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, where) for where in names.INTERNAL_PLACES]
            told["streams"] = sum(row[at] for row in snapshot.streams.values() for at in counters)
            told["faults"] = sum(snapshot.process[at] for at in faults)
    return told


def pytest_configure(config: Any) -> None:
    path = os.environ.get("SDK_SUITE_OUTCOMES")
    if path:
        config.pluginmanager.register(Outcomes(open(path, "w")), "sdk-suite-outcomes")  # noqa: SIM115
