"""Starts the agent's own process, as `python <this folder>` (run/spawn.py).

No code of the app is loaded in it.
"""

import sys

if __name__ == "__main__":
    # This folder contains modules with the names of standard ones.
    del sys.path[0]
    import json
    import os

    # For the variable's content see agent/protocol.py, which cannot be imported yet.
    start = json.loads(os.environ.pop("STREAMVITALS_AGENT"))
    # Import the package that started this process, even if another copy is before it on the path.
    sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]
    import streamvitals  # noqa: F401

    sys.path[:] = start["path"]
    try:
        from streamvitals.agent.endpoints import watch_endpoints
        from streamvitals.config.problems import Problem

        problems = [Problem(*problem) for problem in start["problems"]]
        # Before the slow imports, because it holds the app's stderr open.
        watch = watch_endpoints(problems, int(start["app"].partition("-")[0] or 0), start["speaks"])
        from streamvitals.agent.serve import serve_beside_app

        serve_beside_app(start["directory"], start["url"], start["app"], problems, watch, start["settings"])
    except BaseException as error:  # noqa: BLE001
        import contextlib
        import traceback

        from streamvitals.agent.private_directory import note
        from streamvitals.agent.protocol import READY

        note(start["directory"], traceback.format_exc())
        # If it has not served yet, the process that started it gets the reason.
        with contextlib.suppress(OSError):
            os.write(READY, f"{type(error).__name__}: {error}".encode(errors="replace"))
        os._exit(1)
    os._exit(0)
