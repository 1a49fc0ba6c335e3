"""The protocol between launcher and agent: how the agent is started, and how it is asked to leave.

The launcher (run/spawn.py) execs `python OPTIONS FOLDER` with three descriptors and one variable. Every user can read
a process's arguments, so what the agent must know is in the variable, as JSON:

    path       the launcher's sys.path: the agent finds what the launcher found
    directory  the private directory to serve
    url        where /metrics is served, as printed for the user
    app        the app's main process, as <pid>-<start time>
    problems   what is known not to work (config/problems.py)
    settings   where OpenTelemetry's settings come from
    speaks     whether the agent is given the app's stderr
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

# The agent's descriptors: the listening socket; a pipe on which it reports that it serves, or why not; and, for a few
# seconds, the app's stderr, if the agent has something to test and to report there.
LISTENER, READY, STDERR = 3, 4, 5
SERVING = b"serving"
VARIABLE = "STREAMVITALS_AGENT"
# Asks an agent whose app has gone to leave its port to a new run. A process that does not expect this signal ignores
# it, and so does an agent of another version.
PLEASE_LEAVE = signal.SIGURG
# No `site`: no .pth files of the environment, no sitecustomize, no user's packages.
OPTIONS = ("-s", "-S", "-W", "ignore")
FOLDER = os.path.dirname(os.path.abspath(__file__))


def is_agent(arguments: Sequence[bytes]) -> bool:
    """Whether this is the command line of an agent, of any installation."""
    return b"-S" in arguments and b"".join(arguments[-2:-1]).endswith(b"/streamvitals/agent")
