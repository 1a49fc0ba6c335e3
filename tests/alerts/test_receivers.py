"""The receivers of the example, in a real Alertmanager: what arrives as mail, in Slack, PagerDuty and Opsgenie."""

from __future__ import annotations

import contextlib
import email
import socketserver
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts_support import alertmanager, needs
from paging_support import Alertmanager, Receiver
from run_support import eventually
from streamvitals.alerts.objectives import Objectives
from streamvitals.export.examples import RECEIVERS, TEMPLATE, examples

pytestmark = needs("alertmanager")
LABELS = {"alertname": "StreamvitalsFailing", "namespace": "shop", "job": "chat", "severity": "critical",
          "kind": "symptom"}
SAID = {"summary": "22% of gpt-4o streams break", "description": "Look next: 1. the dashboard; 2. the log."}
ADDRESSES = {"runbook_url": "https://wiki.example.com/StreamvitalsFailing.md",
             "dashboard_url": "https://grafana.example.com/d/streamvitals-incident?var-job=chat"}


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that takes any mail, as much of one as Alertmanager asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[Message] = []
        got = self.got

        class Talk(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 ready")
                for line in iter(self.rfile.readline, b""):
                    if line.upper().startswith(b"DATA"):
                        self._say("354 go on")
                        text = b"".join(iter(self.rfile.readline, b".\r\n"))
                        got.append(email.message_from_bytes(text))
                    self._say("250 well")

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        super().__init__(("127.0.0.1", 0), Talk)

    @contextlib.contextmanager
    def open(self) -> Iterator[Mailbox]:
        thread = threading.Thread(target=self.serve_forever)
        thread.start()
        yield self
        self.shutdown()
        thread.join()
        self.server_close()


def config_of(folder: Path, port: int, mail: int) -> Path:
    """The example for a company's severities, with every receiver at one local address, and all told of everything."""
    objectives = Objectives(service=("namespace", "job"), severities=(("page", "critical"), ("ticket", "warning")))
    files = examples(objectives)
    (folder / TEMPLATE).write_text(files[TEMPLATE])
    config: dict[str, Any] = yaml.safe_load(files[RECEIVERS])
    assert [route["matchers"] for route in config["route"]["routes"]] == [["severity = critical"]] * 2 + [
        ["severity = warning"]
    ]
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    for route in config["route"]["routes"]:
        route |= {"continue": True}
    config["route"]["routes"][-1].pop("matchers")
    config["route"]["routes"].append({"receiver": "mail"})
    config["global"] |= {"smtp_smarthost": f"127.0.0.1:{mail}", "smtp_require_tls": False}
    pagerduty, opsgenie, slack, _ = config["receivers"]
    here = f"http://127.0.0.1:{port}"
    for one, file, address in (
        (pagerduty["pagerduty_configs"][0], "routing_key_file", {"url": f"{here}/pagerduty"}),
        (opsgenie["opsgenie_configs"][0], "api_key_file", {"api_url": f"{here}/opsgenie/"}),
        (slack["slack_configs"][0], "api_url_file", {}),
    ):
        one |= {file: str(folder / file)} | address
        (folder / file).write_text(f"{here}/slack" if file == "api_url_file" else "0" * 32)
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    return folder / "alertmanager.yaml"


@pytest.mark.parametrize("addresses", [{}, ADDRESSES], ids=["without addresses", "with addresses"])
def test_what_arrives(tmp_path: Path, addresses: dict[str, str]) -> None:
    with Receiver() as receiver, Mailbox().open() as mailbox:
        config = config_of(tmp_path, receiver.port, mailbox.server_address[1])
        manager = Alertmanager(tmp_path, receiver, str(alertmanager()), 1.0, config)
        with manager.running():
            manager.send([{"labels": LABELS, "annotations": SAID | addresses}])
            eventually(lambda: len(receiver.got) >= 3 and mailbox.got, "all four")
    said = {path.split("/")[1]: body for path, _, body in receiver.got}
    title = "shop chat: 22% of gpt-4o streams break"

    (letter,) = mailbox.got
    assert letter["subject"] == title
    parts = [part for part in letter.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts] == ["text/plain"]
    text = parts[0].get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert SAID["description"] in text
    assert "StreamvitalsFailing, told since" in text

    (slack,) = said["slack"]["attachments"]
    assert (slack["title"], slack.get("title_link", "")) == (title, addresses.get("dashboard_url", ""))

    page = said["pagerduty"]
    assert page["payload"]["summary"] == title
    assert (page["payload"]["severity"], page["payload"]["component"]) == ("critical", "shop chat")
    assert [link["href"] for link in page.get("links") or []] == list(addresses.values())

    assert (said["opsgenie"]["message"], said["opsgenie"]["priority"]) == (title, "P1")
    for body in (text, slack["text"], page["payload"]["custom_details"]["what"], said["opsgenie"]["description"]):
        assert ("Runbook: " in body, "Dashboard: " in body) == (bool(addresses), bool(addresses))
        assert "http" not in body or addresses
