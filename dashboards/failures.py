"""The row with the last failures, one by one: what a provider's support asks for, and where to look them up."""

from __future__ import annotations

from collections.abc import Sequence

from .panels import note
from .tables import Column, spans

TITLE = "The last failures"
# In the names of attributes as spans have them; docs/signals.md lists them.
_OUTCOME, _REQUEST = "streamvitals.outcome", "streamvitals.request_id"
_MODEL, _PROVIDER, _SERVER = "gen_ai.request.model", "gen_ai.provider.name", "server.address"
_ERROR, _CHUNKS, _ELAPSED = "error.type", "streamvitals.failure.chunk_index", "streamvitals.failure.elapsed"
_SHOWN = (_OUTCOME, _ERROR, _REQUEST, _MODEL, _SERVER, _CHUNKS, _ELAPSED)
# Variables are chosen with regular expressions, as in Prometheus.
QUERY = (
    f"{{ status = error && span.{_OUTCOME} != nil"
    f' && span.{_MODEL} =~ "$model" && span.{_PROVIDER} =~ "$provider" && span.{_SERVER} =~ "$server" }}'
    f" | select({', '.join(f'span.{name}' for name in _SHOWN)})"
)
COMMAND = "streamvitals incidents --since 10m"
NOTE = f"""\
Where the program runs (`kubectl exec POD -- …`), this lists what failed, like failures together:

```
{COMMAND}
```

`streamvitals incidents ID`, with the id in brackets, has each of them with its request id.
"""


def last_failures() -> Sequence[object]:
    return [
        spans(
            "Last failures", QUERY,
            "The last streams that failed, from the trace store (Tempo): each with the request id that the provider's "
            "support asks for. Only what was sampled is there.",
            [
                Column("time", "Time", width=150),
                Column(_OUTCOME, "Outcome", width=95),
                Column(_ERROR, "Error type", width=120),
                Column(_REQUEST, "Request id"),
                Column(_MODEL, "Model", width=110),
                Column(_SERVER, "Server", width=120),
                Column(_CHUNKS, "Chunks", unit="locale", decimals=0, width=70),
                Column(_ELAPSED, "After", unit="s", width=75),
                Column("spanID", "Span", width=130),
            ],
            idle="no failure in the trace store, or no trace store: see beside",
        ),
        note("Where there is no trace store", NOTE, "The command that lists the last failures without traces."),
    ]
