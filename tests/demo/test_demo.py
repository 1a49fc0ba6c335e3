"""The demo finds what differs, and there is nothing to find."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo import compare, plan, quantiles, run, truth
from demo.options import parse
from demo.plan import Job, Urls, make_plan
from demo.report import Report
from demo.scrape import Buckets, Scrape
from demo.truth import Said, gather
from streamvitals import names
from streamvitals.faults.scenarios import SCENARIOS

VERSION = importlib.metadata.version("openai")
URLS = Urls("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1", "http://127.0.0.1:3/v1", "http://no.invalid/v1",
            "https://127.0.0.1:1/v1")
LABELS = (
    'gen_ai_operation_name="chat",gen_ai_provider_name="other",gen_ai_request_model="{}",server_address="127.0.0.1"'
)


# -- the plan


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert make_plan(7, 200, 10.0, URLS) == make_plan(7, 200, 10.0, URLS)
    assert make_plan(7, 200, 10.0, URLS) != make_plan(8, 200, 10.0, URLS)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_has_as_many_streams_as_asked_for_and_every_scenario(seed: int) -> None:
    jobs = make_plan(seed, 300, 15.0, URLS)
    assert len(jobs) == 300
    assert {job.scenario for job in jobs if not job.surface} == set(SCENARIOS)
    assert [job.server_spec.partition("?")[0] for job in jobs if job.surface] == list(plan.SOCKETS)
    assert [job.id for job in jobs] == list(range(300))
    assert Counter(job.outcome for job in jobs).keys() == set(names.OUTCOMES)
    assert 15 < max(job.at for job in jobs) < 25


@pytest.mark.parametrize("streams", [1, 2, 59, 60, 61])
def test_a_small_plan_has_exactly_as_many(streams: int) -> None:
    assert len(make_plan(1, streams, 15.0, URLS)) == streams


def test_a_scenario_can_be_left_out() -> None:
    jobs = make_plan(1, 300, 15.0, URLS, {"dns-failure"})
    assert {job.scenario for job in jobs if not job.surface} == SCENARIOS.keys() - {"dns-failure"}


@pytest.mark.parametrize("without", [{"realtime"}, {"responses-ws"}, {"realtime", "responses-ws"}])
def test_so_can_the_surfaces_that_need_websockets(without: set[str]) -> None:
    jobs = make_plan(1, 300, 15.0, URLS, without)
    assert len(jobs) == 300
    assert {job.surface for job in jobs} == {"", "realtime", "responses-ws"} - without


@pytest.mark.parametrize(
    ("missing", "said"),
    [("websockets", "the package websockets is not installed"), ("file", f"openai {VERSION} does not have it")],
)
def test_that_they_are_left_out_is_said(missing: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "websockets":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(run, "SOCKET_FILES", dict.fromkeys(run.SOCKET_FILES, "openai/no_such_file.py"))
    assert list(run._sockets_left_out()) == [("responses-ws", said), ("realtime", said)]


def test_the_program_is_not_told_what_will_go_wrong() -> None:
    job = next(job for job in make_plan(1, 300, 15.0, URLS) if job.outcome == "truncated")
    assert "truncated" not in json.dumps(job.for_client())


# -- finding differences


def job(number: int = 0, scenario: str = "ok", **more: Any) -> Job:
    about = SCENARIOS[scenario]
    given = {"outcome": about.outcome, "error_type": about.error_type, **more}
    return Job(
        number, scenario, model="m", server_spec=scenario, base_url=f"http://127.0.0.1:1/job-{number}/v1", **given
    )


def entry(number: int, scenario: str, gaps: tuple[float, ...] = (0.01, 0.01), at: float = 0.0) -> dict[str, Any]:
    return {
        "path": f"/job-{number}/v1/chat/completions", "scenario": scenario, "t_request": at, "t_headers": at,
        "first_chunk": 0.1, "first_token": 0.1, "gaps": list(gaps), "t_end": at + 0.1 + sum(gaps),
    }


def series(name: str, value: float, model: str = "m", **labels: str) -> str:
    more = "".join(f',{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{LABELS.format(model)}{more}}} {value}\n"


def found(jobs: list[Job], exposition: str) -> list[str]:
    log = [entry(j.id, j.scenario) for j in jobs]
    told = {j.id: Said(1, 3, "", 0.1, (0.01, 0.01)) for j in jobs}
    report = Report(1, "3.0.0", 1.0, "", 0)
    compare.compare(report, gather(jobs, log, told), Scrape(exposition))
    return [problem for problem in report.problems if "streams" in problem or "chat" in problem]


GOOD = series("streamvitals_streams_total", 1, outcome="completed")


def test_what_is_reported_as_it_was_is_no_difference() -> None:
    assert found([job()], GOOD) == []


def test_a_stream_that_is_not_reported_is_found() -> None:
    assert any("injected 1, reported 0" in problem for problem in found([job()], ""))


def test_a_stream_that_is_reported_twice_is_found() -> None:
    problems = found([job()], series("streamvitals_streams_total", 2, outcome="completed"))
    assert any("injected 1, reported 2" in problem for problem in problems)


def test_a_wrong_outcome_is_found() -> None:
    problems = found([job(scenario="silent-cut")], GOOD)
    assert any(problem.startswith("truncated missing_terminal") for problem in problems)
    assert any(problem.startswith("completed") for problem in problems)


def test_a_wrong_error_type_is_found() -> None:
    exposition = series("streamvitals_streams_total", 1, outcome="truncated") + series(
        "streamvitals_stream_errors_total", 1, outcome="truncated", error_type="empty_stream"
    )
    problems = found([job(scenario="silent-cut")], exposition)
    assert any(problem.startswith("truncated empty_stream") for problem in problems)


def test_two_wrongs_that_add_up_are_found() -> None:
    exposition = series("streamvitals_streams_total", 1, "other-model", outcome="completed")
    assert len(found([job()], exposition)) >= 2


def test_a_server_that_did_not_do_as_planned_is_a_fault_of_the_demo() -> None:
    planned = job()
    told = {0: Said(1, 3, "")}
    assert gather([planned], [entry(0, "length")], told).faults
    assert gather([planned], [], told).faults
    assert gather([planned], [entry(0, "ok"), entry(0, "ok")], told).faults
    assert gather([planned], [entry(0, "ok")], {}).faults
    assert gather([planned], [entry(0, "ok")], told).faults == []


# -- times


def test_a_time_alone_fails_nothing_and_is_told_with_its_reason() -> None:
    """The busy machine's: the server sent in time, and the program and we had it late, by different amounts."""
    late = series("streamvitals_wait_seconds_total", 900, plan.SLOW_PROVIDER)
    report = Report(1, "3.0.0", 1.0, "", 0)
    slow = replace(job(), model=plan.SLOW_PROVIDER)
    told = {0: Said(1, 3, "", 0.1, (0.1, 0.01, 0.01))}
    streams = gather([slow], [entry(0, "ok")], told)
    compare.compare(report, streams, Scrape(series("streamvitals_streams_total", 1, plan.SLOW_PROVIDER,
                                                   outcome="completed") + late))
    assert [remark for remark in report.remarks if remark.startswith(f"wait of {plan.SLOW_PROVIDER}: ")]
    assert not any("wait" in problem for problem in report.problems)


@pytest.mark.parametrize(("load", "said"), [(7.0, "is busy (a load of 7.0 on 2"), (0.3, "is not busy")])
def test_the_reason_is_the_machines_load(load: float, said: str) -> None:
    assert said in run._why_late(load, 2)


def stalls(waits: tuple[float, ...], reported: float) -> bool:
    told = {0: Said(1, 3, "", 0.1, waits)}
    report = Report(1, "3.0.0", 1.0, "", 0)
    exposition = GOOD + series("streamvitals_stalls_total", reported)
    compare.compare(report, gather([job()], [entry(0, "ok")], told), Scrape(exposition))
    return next(count for count in report.counts if count.what == "stalls").ok


def test_a_stall_that_only_the_machine_made_is_one_if_the_programs_own_watch_says_so() -> None:
    assert stalls((0.1, 0.01, 0.01), 0)
    assert not stalls((0.1, 0.01, 0.01), 1)
    assert stalls((0.1, 1.5, 0.01), 1)
    assert stalls((0.1, 1.5, 0.01), 0)
    assert not stalls((0.1, 1.5, 0.01), 2)


# -- what hung when


def test_the_truth_of_a_moment_is_who_had_been_silent_for_so_long() -> None:
    hanging = truth.Stream(job(), [entry(0, "ok", gaps=(3.0, 0.01), at=10.0)], Said(1, 3, ""))
    whole = truth.Truth([hanging], [])
    assert whole.stalled(11.5, 12.0, 1.0) == (1, 1)
    assert whole.stalled(10.5, 10.9, 1.0) == (0, 0)
    assert whole.stalled(10.5, 12.0, 1.0) == (0, 1)
    assert whole.stalled(12.0, 20.0, 1.0) == (0, 1)
    assert whole.stalled(13.2, 20.0, 1.0) == (0, 0)


def test_a_look_that_sees_too_few_or_too_many_is_found() -> None:
    hanging = truth.Stream(job(), [entry(0, "ok", gaps=(3.0, 0.01), at=10.0)], Said(1, 3, ""))
    whole = truth.Truth([hanging], [])
    for reported, wrong in ((1, 0), (0, 1), (2, 1)):
        seen = compare.looks(whole, [(12.0, 12.01, reported)], 0.0)
        assert len([*compare.looks_problems(seen, 1)]) == wrong
        assert len([*compare.looks_remarks(seen, 1)]) == wrong


def test_looks_that_came_too_late_for_the_hang_are_a_remark() -> None:
    hanging = truth.Stream(job(), [entry(0, "ok", gaps=(3.0, 0.01), at=10.0)], Said(1, 3, ""))
    seen = compare.looks(truth.Truth([hanging], []), [(9.0, 9.1, 0), (14.0, 14.1, 0)], 0.0)
    assert [*compare.looks_problems(seen, 1)] == []
    assert [*compare.looks_remarks(seen, 1)] == ["no scrape was made while all of the 1 streams hung"]


# -- numbers


def test_quantiles_are_those_of_prometheus() -> None:
    buckets = Buckets((1.0, 2.0, 4.0), (2.0, 2.0, 4.0, 0.0), 0.0)
    assert quantiles.of_histogram(0.5, buckets) == 2.0
    assert quantiles.of_histogram(0.25, buckets) == 1.0
    assert quantiles.of_histogram(0.75, buckets) == 3.0
    assert quantiles.of_histogram(0.5, Buckets((1.0, 2.0), (0.0, 0.0, 3.0), 0.0)) == 2.0
    assert quantiles.of_values(0.5, [3.0, 1.0, 2.0]) == 2.0


def test_a_scrape_since_another_is_what_came_in_between() -> None:
    before = Scrape(GOOD + series("streamvitals_streams_active", 3))
    ended = series("streamvitals_streams_total", 5, outcome="completed")
    after = Scrape(ended + series("streamvitals_streams_active", 2))
    rest = after.since(before)
    assert rest.sum(names.STREAMS, outcome="completed") == 4
    assert rest.sum(names.ACTIVE) == 2


# -- the command


@pytest.mark.parametrize(
    "arguments",
    [["--streams", "0"], ["--streams", "many"], ["--rate", "0"], ["--rate", "nan"], ["--rate", "1e9"], ["--seed", "x"],
     ["--port", "0"], ["--port", "70000"], ["--keep", "--json"], ["--nonsense"]],
)
def test_a_bad_argument_is_status_2_and_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(arguments) == 2
    assert arguments[0].lstrip("-") in capsys.readouterr().err


def test_defaults() -> None:
    options = parse([])
    assert (options.streams, options.seed, options.rate, options.keep) == (300, 1, 15.0, False)


def test_it_runs_and_finds_no_difference(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--streams", "80", "--rate", "20", "--json", "--svg", str(picture)],
        capture_output=True, text=True, check=False, timeout=150, cwd=Path(run.__file__).parents[1],
        env={**os.environ, "OPENAI_API_KEY": "not-used"},
    )
    report = json.loads(done.stdout or "{}")
    assert (done.returncode, report.get("problems")) == (0, []), done.stderr
    assert report["injected"] == report["reported"] == 80
    assert {look["reported"] for look in report["looks"]} >= {0, 8} or report["remarks"]
    assert picture.read_text().startswith("<svg")


def test_the_program_imports_nothing_of_streamvitals() -> None:
    source = (Path(run.__file__).with_name("client.py")).read_text()
    imported = {line for line in source.splitlines() if line.startswith(("import", "from"))}
    assert not any("streamvitals" in line or "from ." in line for line in imported)
    assert plan.PROMPT not in source
