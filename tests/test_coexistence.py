"""Other instrumentations of the SDK in the same process, in short; all of it is `tests/coexistence/run.py`.

Each is skipped where it is not installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from run_support import RUN, environment

sys.path.insert(0, str(Path(__file__).parent / "coexistence"))
from arrangement import ALONE, IN_CODE, INSIDE, Arrangement, Seen, differences, run
from expected import SHORT

MODULES = {
    "genai-openai": "opentelemetry.instrumentation.genai.openai",
    "traceloop": "opentelemetry.instrumentation.openai",
    "openinference": "openinference.instrumentation.openai",
    "sentry": "sentry_sdk",
}
PYTHON = Path(sys.executable)
_references: dict[tuple[str, Arrangement], Seen] = {}


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _compared(base_url: str, peer: str, arrangement: Arrangement) -> list[str]:
    reference = ALONE if arrangement in (ALONE, INSIDE) else Arrangement("", arrangement.order)
    if (peer, reference) not in _references:
        _references[peer, reference] = run(PYTHON, base_url, peer, None, reference, SHORT)
    both = run(PYTHON, base_url, peer, arrangement, reference, SHORT)
    return differences(_references[peer, reference], both, SHORT, spans_expected=peer != "sentry")


@pytest.mark.parametrize("arrangement", IN_CODE, ids=lambda arrangement: arrangement.title)
@pytest.mark.parametrize("peer", MODULES)
def test_in_code(server, peer, arrangement):
    if not _installed(MODULES[peer]):
        pytest.skip(f"{MODULES[peer]} is not installed")
    assert _compared(server.base_url, peer, arrangement) == []


@pytest.mark.parametrize("arrangement", [ALONE, INSIDE], ids=lambda arrangement: arrangement.title)
def test_opentelemetry_instrument(server, arrangement):
    """With whatever instrumentations are installed."""
    pytest.importorskip("opentelemetry.instrumentation.auto_instrumentation")
    assert _compared(server.base_url, "", arrangement) == []


def test_inside_run_it_is_the_run_that_observes():
    """Not the installed package a second time, and nothing of it stays on the path."""
    pytest.importorskip("opentelemetry.instrumentation.auto_instrumentation")
    code = """
import importlib.metadata, json, sys
found = importlib.metadata.distribution("streamvitals")
watched = "_streamvitals_importhook" in sys.modules, "streamvitals.instrumentor" in sys.modules
print(json.dumps([*watched, found.version, [entry for entry in sys.path if entry.endswith("inject")]]))
"""
    none = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    instrument = str(PYTHON.with_name("opentelemetry-instrument"))
    done = subprocess.run(
        [*RUN, "--port", "0", "--", instrument, sys.executable, "-c", code],
        env=environment(**none, STREAMVITALS_LINGER_SECONDS="0"), stdout=subprocess.PIPE, text=True, check=True,
    )
    assert json.loads(done.stdout) == [True, False, importlib.metadata.version("streamvitals"), []]
