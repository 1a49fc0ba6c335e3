"""What launcher and agent agree on: how the agent is started, and how it is asked to leave.

The launcher (run/spawn.py) execs `python OPTIONS FOLDER` with three descriptors and one variable. Arguments are for
everybody to read, so what the agent has to know is in the variable, as JSON:

    path       the launcher's sys.path: the agent finds what the launcher found
    directory  the private directory to serve
    url        where /metrics is served, as the user was told
    app        the app's main process, as <pid>-<start time>
    problems   what is known not to work (config/problems.py)
    speaks     whether the agent is given the app's stderr
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

# The agent's descriptors: the listening socket; where it says that it serves, or why not; and, for a few seconds, the
# app's stderr, where it has something to find out first that is then said there.
LISTENER, READY, STDERR = 3, 4, 5
SERVING = b"serving"
VARIABLE = "STREAMVITALS_AGENT"
# Asks an agent whose app has gone to leave its port to a new run. Ignored by whatever does not expect it, an agent of
# another version among that.
PLEASE_LEAVE = signal.SIGURG
# No `site`: nothing of the environment's .pth files, no sitecustomize, no user's packages.
OPTIONS = ("-s", "-S", "-W", "ignore")
FOLDER = os.path.dirname(os.path.abspath(__file__))


def is_agent(arguments: Sequence[bytes]) -> bool:
    """Whether this is the command line of an agent, of any installation."""
    return b"-S" in arguments and b"".join(arguments[-2:-1]).endswith(b"/streamvitals/agent")
