"""One finding of `doctor`."""

from __future__ import annotations

from typing import NamedTuple

OK, WARN, FAIL = "ok", "warn", "fail"


class Check(NamedTuple):
    """One finding. ``mend`` is empty where nothing needs to be done."""

    status: str
    what: str
    mend: str = ""
