"""What became of streams, asked of the agent of a real app: forked workers, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from run_support import APPS, environment, eventually, get, python, started
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.mix import InTurn


def by_end(made: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(one["outcome"], one["error_type"], one["model"]): one for one in made["incidents"]}


def test_all_workers_are_read_and_a_killed_one_loses_nothing(server: ThreadedFaultServer) -> None:
    server.by_model.update({
        "flaky": InTurn("silent-cut", "reset?after=3", "ok"), "aflaky": InTurn("503", "reset?after=3", "ok"),
    })
    command = python(str(APPS / "incidents_app.py"))
    with started(command, environment(server.base_url), stdout=subprocess.PIPE, text=True) as app:
        app.wait_for_agent()
        output = app.process.stdout
        assert output is not None
        said = [output.readline() for _ in range(26 + 3)]  # exceptions, and workers that are done
        assert sum(line.startswith("done") for line in said) == 3, said
        api = app.url + "/api/v1/incidents"

        def asked(query: str = "") -> dict[str, Any]:
            return dict(json.loads(get(f"{api}?{query}")))

        eventually(lambda: len(by_end(asked())) >= 7, "all that happens before the kill")
        before = by_end(asked())
        resets = before["reset", "connection_reset", "sv-reset?after=4"]
        assert (resets["count"], resets["chunks"], resets["owner"]) == (21, 4, "provider")
        for ended in (
            ("truncated", "missing_terminal", "flaky"), ("reset", "connection_reset", "flaky"),
            ("http_error", "503", "aflaky"), ("reset", "connection_reset", "aflaky"),
        ):
            assert (before[ended]["count"], before[ended]["recovered"]) == (1, 1), ended
        limited = before["rate_limited", "429", "sv-429"]
        assert (limited["count"], limited["recovered"]) == (1, 0)
        records = {record["id"]: record for record in asked()["records"]}
        tried = records[limited["records"][0]]
        assert [each["status"] for each in tried["timeline"]["attempts"]] == [429, 429, 429]
        assert (tried["attempts"], tried["request_id"] is not None) == (3, True)
        assert len({record["pid"] for record in records.values()}) == 4
        first, second = (records[before[end]["records"][0]] for end in (
            ("truncated", "missing_terminal", "flaky"), ("reset", "connection_reset", "flaky"),
        ))
        assert first["operation_id"] == second["operation_id"] != tried["operation_id"]
        assert "secret" not in get(api)
        assert "sk-test" not in get(api)

        victim = next(r["pid"] for r in records.values() if r["outcome"] == "reset" and r["pid"] not in (
            first["pid"], tried["pid"], records[before["http_error", "503", "aflaky"]["records"][0]]["pid"],
        ))
        os.kill(victim, signal.SIGKILL)
        died = eventually(
            lambda: by_end(asked("outcome=abandoned")).get(("abandoned", "process_died", "sv-stall?after=2")),
            "the stream that was open",
        )
        assert (died["count"], died["chunks"], died["owner"]) == (1, 2, "app")
        after = by_end(asked())["reset", "connection_reset", "sv-reset?after=4"]
        assert (after["count"], after["records"]) == (21, resets["records"]), "what it had written is still there"
        assert not list(Path(app.directory()).glob(f"**/{victim}-*.sv"))
