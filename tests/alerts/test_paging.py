"""The whole way to a pager: programs, agents, Prometheus, Alertmanager, a webhook; nothing stands in for anything."""

from __future__ import annotations

import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from alerts_support import alertmanager, needs, newer
from paging_support import Receiver, Watch
from run_support import APPS, environment, eventually, started
from streamvitals.faults import ThreadedFaultServer
from thorough import THOROUGH

pytestmark = needs("prometheus", "alertmanager")
GOOD, BAD = "ok?chunks=3", "reset-after-n?after=2&grace=0.01"
FLEET = 3
# A slow machine gets there too, if later.
PATIENCE = 120.0


@pytest.mark.parametrize("version", [2, pytest.param(3, marks=pytest.mark.skipif(
    not newer("prometheus"), reason="Prometheus 3 cannot be had here: newer_prometheus.sh says why"
))])
def test_a_page_comes_once_says_why_and_goes(version: int, tmp_path: Path) -> None:
    """With what Debian 12 has, and with Prometheus 3 and its Alertmanager."""
    own = ("prometheus", str(alertmanager()))
    programs = own if version == 2 else (str(newer("prometheus")), str(newer("prometheus-alertmanager")))
    command = [sys.executable, str(APPS / "steady_script.py"), "gpt-4o", "gpt-4o-mini"]
    with ExitStack() as stack:
        server = stack.enter_context(ThreadedFaultServer())
        server.by_model.update({"gpt-4o": GOOD, "gpt-4o-mini": GOOD})
        receiver = stack.enter_context(Receiver())
        devnull = stack.enter_context(open("/dev/null", "wb"))
        env = environment(server.base_url)
        fleet = [stack.enter_context(started(command, env, stdout=devnull)) for _ in range(FLEET)]
        for app in fleet:
            app.wait_for_agent()
        watch = stack.enter_context(Watch(tmp_path, [app.port for app in fleet], receiver, programs).running())
        eventually(lambda: receiver.at("/watchdog"), "the watchdog", PATIENCE)
        eventually(lambda: watch.value("streamvitals:operations:increase$fast") > 60, "traffic", PATIENCE)
        assert not receiver.at("/page")

        server.by_model["gpt-4o"] = BAD
        turned = time.monotonic()
        eventually(lambda: receiver.at("/page", "firing"), "a page", PATIENCE)
        print(f"paged after {time.monotonic() - turned:.1f} s")
        eventually(lambda: watch.silenced_by("StreamvitalsResetStorm"), "a silenced cause", PATIENCE)

        server.by_model["gpt-4o"] = GOOD
        eventually(lambda: receiver.at("/page", "resolved"), "the end of it", PATIENCE)
        eventually(lambda: len(receiver.at("/slack")) >= 2, "both texts", PATIENCE)

    (page,) = receiver.at("/page", "firing")
    assert [alert["labels"]["alertname"] for alert in page["alerts"]] == ["StreamvitalsFailing"]
    assert page["commonLabels"] == {
        "alertname": "StreamvitalsFailing", "job": "chat", "kind": "symptom", "severity": "page"
    }
    told = page["commonAnnotations"]
    # Since when is known one evaluation of its group later; a minute lasts 2.5 s here.
    said = r"\d+% of gpt-4o streams \(\d+ of \d+\) reset by 127.0.0.1 mid-stream in \w+(, since [\d:]+)? \(at .+ UTC\)"
    assert re.fullmatch(said, told["summary"]), told["summary"]
    assert re.search(r"Affected: 1 of 2 models, 1 of 1 provider servers, [1-3] of 3 replicas\.", told["description"])
    assert "operations failed" in told["description"]
    assert told["runbook_url"].endswith("/StreamvitalsFailing.md")
    assert "/d/streamvitals-incident?var-cluster=&var-namespace=&var-job=chat" in told["dashboard_url"]
    assert len(receiver.at("/page")) == 2
    causes = [body for body in receiver.at("/ticket") if body["commonLabels"].get("kind") == "cause"]
    assert not causes
    texts = [body["attachments"][0] for body in receiver.at("/slack")]
    assert texts[0]["title"] == f"chat: {told['summary']}"
    assert told["description"] in texts[0]["text"]
    assert texts[-1]["title"].startswith("OK chat: ")
    print(texts[0]["title"], texts[0]["text"], sep="\n")


@pytest.mark.parametrize("models", [
    pytest.param(["gpt-4o", "gpt-4o-mini"], id="all models"),
    *([pytest.param(["gpt-4o"], id="one model")] if THOROUGH else []),
])
def test_an_application_that_asks_again_for_ever_is_no_reason_not_to_page(models: list[str], tmp_path: Path) -> None:
    """All users ask the same, and no request fails for good; nothing is hidden from anybody."""
    command = [sys.executable, str(APPS / "stubborn_script.py"), "3", "gpt-4o", "gpt-4o-mini"]
    with ExitStack() as stack:
        server = stack.enter_context(ThreadedFaultServer())
        server.by_model.update({"gpt-4o": GOOD, "gpt-4o-mini": GOOD})
        receiver = stack.enter_context(Receiver())
        devnull = stack.enter_context(open("/dev/null", "wb"))
        app = stack.enter_context(started(command, environment(server.base_url), stdout=devnull))
        app.wait_for_agent()
        programs = ("prometheus", str(alertmanager()))
        watch = stack.enter_context(Watch(tmp_path, [app.port], receiver, programs).running())
        eventually(lambda: watch.value("streamvitals:operations:increase$fast") > 60, "traffic", PATIENCE)
        assert not receiver.at("/page")

        server.by_model.update(dict.fromkeys(models, BAD))
        eventually(lambda: receiver.at("/page", "firing"), "a page", PATIENCE)
        eventually(lambda: watch.silenced_by("StreamvitalsRetryStorm"), "a silenced cause", PATIENCE)
        server.by_model.update(dict.fromkeys(models, GOOD))
        eventually(lambda: receiver.at("/page", "resolved"), "the end of it", PATIENCE)

    (page,) = receiver.at("/page", "firing")
    assert [alert["labels"]["alertname"] for alert in page["alerts"]] == ["StreamvitalsFailing"]
    told = page["commonAnnotations"]
    # The last good ones may be in the window still, of which a second of these is ten.
    assert re.match(r"([5-9]\d|100)% of gpt-4o", told["summary"])
    of = "" if len(models) > 1 else "gpt-4o "
    # Or before a whole window is without a good one: in so short ones each user's first failure counts for much.
    assert re.search(rf"none of \d+ {of}streams|\d+ of \d+ operations failed", told["description"])
    assert not [body for body in receiver.at("/ticket") if body["commonLabels"].get("kind") == "cause"]
