"""Activates streamvitals where `opentelemetry-instrument` stands in front of a Python under `streamvitals run`.

Its `sitecustomize` comes before ours and imports no other. But it loads the instrumentors of every
distribution on `sys.path`, where this folder still is: the `.dist-info` beside this file makes it one. It has
the name of the real one, which it thereby hides while instrumentors are loaded: two of us would both export.
"""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

_HERE = os.path.dirname(os.path.abspath(__file__))


class Entry:
    """The part of an instrumentor that its loader needs."""

    def instrument(self, **kwargs: object) -> None:
        """Do what the sitecustomize beside this file would have done.

        Never raises: that would end the loading of all other instrumentors.
        """
        sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]
        spec = spec_from_file_location("_streamvitals_sitecustomize", os.path.join(_HERE, "sitecustomize.py"))
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module(module_from_spec(spec))
