"""streamvitals shows whether LLM token streams are alive.

``streamvitals run -- python app.py`` needs no change in the program; ``instrument()`` does the same from
within it.
"""

from ._version import __version__
from .inprocess import flush, instrument, uninstrument
from .stream.outcome import Outcome
from .stream.record import StreamRecord

__all__ = ["Outcome", "StreamRecord", "__version__", "flush", "instrument", "uninstrument"]
