"""What the acts of child.py must be reported as, in the order in which they run."""

from __future__ import annotations

from collections.abc import Collection

_BY_SCENARIO = {
    "ok": "completed", "reset": "reset", "silent-cut": "truncated", "broken-json": "malformed", "429": "rate_limited",
}
_SURFACES = ("create", "with", "helper", "raw", "lines", "responses")
_READ = tuple(
    (f"{surface} {name}", _BY_SCENARIO[name])
    for surface in _SURFACES
    for name in ("ok", "reset", "silent-cut", *(("broken-json", "429") if surface == "create" else ()))
)
SYNC = (*_READ, ("break", "abandoned"), ("close", "abandoned"), ("exception", "abandoned"))
ASYNC = (
    *_READ, ("break", "abandoned"), ("close", "abandoned"), ("cancelled", "cancelled"), ("deadline", "cancelled")
)
# For CI: one of each kind of end.
SHORT = (
    "create ok", "create reset", "create silent-cut", "create broken-json", "break", "close", "cancelled", "raw ok",
    "lines ok",
)

# What some peers' spans do not last for: they end with the headers, or when the app drops the stream, or never, as
# those of openai-v2 where the task is cancelled. Then there is no span to put our facts on, and one of ours would be
# the second of an inference.
OUTLIVING = ("raw", "lines", "break", "cancelled", "deadline")


def expected(chosen: Collection[str]) -> list[tuple[str, str]]:
    """Act and outcome, of those chosen; all of them if none is."""
    both = [("sync " + name, outcome) for name, outcome in SYNC] + [("async " + name, o) for name, o in ASYNC]
    return [(name, outcome) for name, outcome in both if not chosen or name.partition(" ")[2] in chosen]
