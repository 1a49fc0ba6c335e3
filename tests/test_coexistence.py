"""Other instrumentations of the SDK in the same process, in short; all of it is `tests/coexistence/run.py`.

Each is skipped where it is not installed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

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
