"""The agent's own process, started by spawn.py as `python <this folder> DIRECTORY URL`."""

import json
import os
import socket
import sys
import traceback

if __name__ == "__main__":
    sys.path[:] = json.loads(os.environ.pop("STREAMVITALS_AGENT_PATH"))

    from streamvitals.agent.directory import note
    from streamvitals.agent.spawn import LISTENER

    try:
        from streamvitals.agent.serve import serve_beside_app
    except Exception:
        note(sys.argv[1], traceback.format_exc())
        raise
    serve_beside_app(sys.argv[1], socket.socket(fileno=LISTENER), sys.argv[2])
