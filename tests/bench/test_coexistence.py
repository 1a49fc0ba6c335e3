"""Other instrumentations of the SDK in the same process, in short; all of it is `make apps`."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.coexistence.arrangement import ALONE, IN_CODE, INSIDE, Arrangement, Seen, differences, run
from bench.coexistence.expected import SHORT
from bench.coexistence.peers import TOGETHER
from environment_support import made
from run_support import RUN, environment

pytestmark = pytest.mark.xdist_group("coexistence")  # one environment, and references that are run once
ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.executable)
_references: dict[tuple[str, Arrangement], Seen] = {}


@pytest.fixture(scope="module")
def together():
    """The interpreter of an environment with all of them."""
    return made(ROOT / ".build" / "coexistence" / "together", TOGETHER)


def _compared(python: Path, base_url: str, peer: str, arrangement: Arrangement) -> list[str]:
    reference = ALONE if arrangement in (ALONE, INSIDE) else Arrangement("", arrangement.order)
    if (peer, reference) not in _references:
        _references[peer, reference] = run(python, base_url, peer, None, reference, SHORT)
    both = run(python, base_url, peer, arrangement, reference, SHORT)
    return differences(_references[peer, reference], both, SHORT, spans_expected=peer != "sentry")


@pytest.mark.parametrize("arrangement", IN_CODE, ids=lambda arrangement: arrangement.title)
@pytest.mark.parametrize("peer", ["genai-openai", "traceloop", "openinference", "sentry"])
def test_in_code(server, together, peer, arrangement):
    assert _compared(together, server.base_url, peer, arrangement) == []


@pytest.mark.parametrize("arrangement", [ALONE, INSIDE], ids=lambda arrangement: arrangement.title)
def test_opentelemetry_instrument(server, arrangement):
    """With whatever instrumentations are installed."""
    pytest.importorskip("opentelemetry.instrumentation.auto_instrumentation")
    assert _compared(PYTHON, server.base_url, "", arrangement) == []


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
