"""One finding of `doctor`."""

from __future__ import annotations

from typing import NamedTuple

OK, WARN, FAIL = "ok", "warn", "fail"
# The exit status where a variable has a value that is not allowed, as for a bad option.
BAD_VALUE = 2
# What to do where it is not known what a command starts.
GIVE_PYTHON = "give doctor the python command itself to have that one looked at"


class Check(NamedTuple):
    """One finding.

    ``mend``, which is also a key of the JSON, says how to fix it: empty where nothing needs to be done. ``exit`` is the
    least status to end with.
    """

    status: str
    what: str
    mend: str = ""
    exit: int = 0
