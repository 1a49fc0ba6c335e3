"""What a pager would show: prints what Alertmanager sends, and serves the runbooks that its links lead to."""

from __future__ import annotations

import argparse
import functools
import json
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Pager(SimpleHTTPRequestHandler):
    """A GET is for a runbook."""

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/watchdog":
            for alert in told["alerts"]:
                said = alert["annotations"]
                print(f"{self.path.strip('/')}: {alert['status']}: {alert['labels'].get('job', '')}: {said['summary']}")
                print(f"    {said.get('runbook_url', '')}\n    {said.get('dashboard_url', '')}", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Only what comes is printed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=9095)
    parser.add_argument("--runbooks", default=".", metavar="DIR", help="what to serve")
    given = parser.parse_args()
    handler = functools.partial(Pager, directory=given.runbooks)
    with ThreadingHTTPServer(("", given.port), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
