"""The colour of every outcome and result: the same in dashboards, on pages and in docs.

Each is for marks (lines, bars, swatches) on a light and on a dark background alike: its contrast with both is 3 to 1 or
more, and any two can be told apart, also by people who see no red, no green or no blue (tests/test_palette.py). It is
too little contrast for small text: write beside a mark, not in its colour.
"""

from __future__ import annotations

from .outcome import Outcome

# Green ended well, ochre met a limit, blue and grey are the application's doing; red, orange, pink and purple broke.
OUTCOME_COLORS: dict[str, str] = {
    Outcome.COMPLETED.value: "#2b957f",
    Outcome.LENGTH.value: "#a7951e",
    Outcome.CONTENT_FILTER.value: "#888254",
    Outcome.TRUNCATED.value: "#be6708",
    Outcome.RESET.value: "#c02f1f",
    Outcome.TIMEOUT.value: "#8d43fe",
    Outcome.MALFORMED.value: "#945950",
    Outcome.API_ERROR.value: "#c309b7",
    Outcome.RATE_LIMITED.value: "#9675ed",
    Outcome.HTTP_ERROR.value: "#f25575",
    Outcome.REJECTED.value: "#596780",
    Outcome.CONNECT_ERROR.value: "#ce70a8",
    Outcome.CANCELLED.value: "#2b6cc4",
    Outcome.ABANDONED.value: "#439dc6",
}

# Each result has the colour of an outcome that it is the result of.
RESULT_COLORS: dict[str, str] = {
    "completed": OUTCOME_COLORS["completed"],
    "limit": OUTCOME_COLORS["length"],
    "failed": OUTCOME_COLORS["reset"],
    "rejected": OUTCOME_COLORS["rejected"],
    "left": OUTCOME_COLORS["cancelled"],
}
