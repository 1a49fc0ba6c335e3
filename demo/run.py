"""The demo: break streams in every way we know, under `streamvitals run`, and compare what was reported."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streamvitals import names

from . import compare, plan, scrape, table, truth
from .options import KEEP_STREAMS, Options, parse
from .plan import HANG, Job
from .report import ProcessRow, Report
from .scrape import Scrape
from .session import DemoError, Session, denies_names

LOOK_EVERY = 0.4
# How long the program may be done with no further job before it is given up. Seconds.
DONE_WITHIN = 60.0
# From this load per processor on a machine is busy: what is ready to run has to wait.
BUSY = 1.0
# Before 1.9 the SDK passes over frames without data and takes broken text for text: what it says is then true too.
LENIENT_BEFORE, LENIENT = (1, 9), ("meta-frames", "id-then-comment", "broken-utf8")
# What an SDK has that has these surfaces as WebSockets.
SOCKET_FILES = {
    "responses-ws": "openai/types/responses/responses_client_event.py",
    "realtime": "openai/types/realtime/realtime_client_event.py",
}
Tell = Callable[[int, int, int], None]  # jobs done, streams open, streams stalled


class Watch(threading.Thread):
    """Scrapes two gauges again and again, as Prometheus would, until it is stopped."""

    def __init__(self, url: str) -> None:
        super().__init__(name="watch", daemon=True)
        self._url = url
        self._stop_it = threading.Event()
        self.looks: list[tuple[float, float, int]] = []
        self.failed: list[str] = []
        self.late: list[str] = []
        self.active = self.stalled = 0

    def run(self) -> None:
        """Look until ``end``."""
        while not self._stop_it.wait(LOOK_EVERY):
            start = time.monotonic()
            try:
                seen = scrape.fetch(self._url, [names.ACTIVE.prometheus, names.STALLED.prometheus])
            except (OSError, ValueError) as error:
                timed_out = isinstance(getattr(error, "reason", error), TimeoutError)
                (self.late if timed_out else self.failed).append(f"a scrape failed: {error}")
                continue
            self.active, self.stalled = int(seen.sum(names.ACTIVE)), int(seen.sum(names.STALLED))
            self.looks.append((start, time.monotonic(), self.stalled))

    def end(self) -> None:
        """Stop, and wait until the last look is over."""
        self._stop_it.set()
        self.join()


class Demo:
    """One session with its numbers so far."""

    def __init__(self, session: Session, seed: int) -> None:
        self._session = session
        self._seed = seed
        self._before = scrape.fetch(session.metrics_url)
        self.interrupted = False

    def round(self, jobs: list[Job], tell: Tell) -> Report:
        """Run the jobs and compare.

        ``interrupt`` ends it early: what has been given by then is compared.
        """
        session = self._session
        session.start_workers(sorted({job.worker for job in jobs}))
        started = time.monotonic()
        watch = Watch(session.metrics_url)
        watch.start()
        given = self._give(jobs, watch, tell)
        self._wait(len(given), watch, tell)
        watch.end()
        expected = sum(1 + len(job.retried) for job in given if not job.unreachable)
        said, log, wrong = session.take_batch(expected)
        after = scrape.fetch(session.metrics_url)
        found = truth.gather(given, log, said)
        report = Report(
            seed=self._seed, openai_version=importlib.metadata.version("openai"),
            seconds=time.monotonic() - started, metrics_url=session.metrics_url, metrics_bytes=after.size,
            problems=[*wrong, *watch.failed], remarks=[*watch.late],
        )
        compare.compare(report, found, after.since(self._before))
        report.looks = compare.looks(found, watch.looks, started)
        hanging = sum(job.model == HANG for job in given)
        hanging = 0 if self.interrupted else hanging
        report.problems += compare.looks_problems(report.looks, hanging)
        report.remarks += compare.looks_remarks(report.looks, hanging)
        if report.remarks:
            report.remarks.append(_why_late(os.getloadavg()[0], os.cpu_count() or 1))
        report.processes = list(_processes(found))
        report.problems += _leaked_secrets(after)
        self._before = after
        return report

    def interrupt(self, *_: object) -> None:
        """Handle SIGINT: end the round early at the first, at once at the second."""
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _give(self, jobs: list[Job], watch: Watch, tell: Tell) -> list[Job]:
        given: list[Job] = []
        started = time.monotonic()
        for job in jobs:
            while not self.interrupted and (early := started + job.at - time.monotonic()) > 0:
                tell(self._session.done, watch.active, watch.stalled)
                time.sleep(min(early, 0.1))
            # The workers that die with their streams need all of them.
            if self.interrupted and job.how != "crash":
                continue
            given.append(job)
            self._session.send(job)
        self._session.end_batch()
        return given

    def _wait(self, jobs: int, watch: Watch, tell: Tell) -> None:
        give_up, done = time.monotonic() + DONE_WITHIN, self._session.done
        while not self._session.batch_ended and time.monotonic() < give_up:
            if self._session.done != done:
                give_up, done = time.monotonic() + DONE_WITHIN, self._session.done
            tell(self._session.done, watch.active, watch.stalled)
            time.sleep(0.1)
        tell(jobs, 0, 0)


def _why_late(load: float, processors: int) -> str:
    """The likely reason for times that are off."""
    state = f"a load of {load:.1f} on {processors} processors"
    if load >= BUSY * processors:
        return f"this machine is busy ({state}): what is ready to run has to wait, and its times are longer"
    return f"this machine is not busy ({state}): if that stays so in another run, please report it"


def _processes(found: truth.Truth) -> Iterator[ProcessRow]:
    counts = compare.processes(found.streams)
    for pid in sorted(pid for pid in counts if pid is not None):
        yield ProcessRow(pid, counts[pid])
    if counts[None]:
        yield ProcessRow(None, counts[None], "killed with SIGKILL")


def _leaked_secrets(after: Scrape) -> Iterator[str]:
    for what, secret in (("a prompt", plan.PROMPT), ("the API key", plan.API_KEY)):
        if secret in after.text:
            yield f"{what} stands in the metrics"


@contextlib.contextmanager
def _bar(console: Console, total: int) -> Iterator[Tell]:
    columns = (
        TextColumn("[bold]breaking streams"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total, state="")

        def show_progress(done: int, active: int, stalled: int) -> None:
            hang = f"  [bold yellow]{stalled} stalled[/]" if stalled else ""
            progress.update(task, completed=done, state=f"[cyan]{active} open[/]{hang}")

        yield show_progress


def _run(options: Options, console: Console) -> bool:
    with Session(options.host, options.port) as session:
        demo = Demo(session, options.seed)
        without = dict(_left_out())
        jobs = plan.make_plan(options.seed, options.streams, options.rate, session.urls, without)
        with _bar(console, len(jobs)) as tell:
            report = demo.round(jobs, tell)
        report.notes += [f"{name} was left out: {why}" for name, why in without.items()]
        if not options.keep:
            report.problems += session.finish()
        if options.json:
            print(json.dumps(report.as_dict(), indent=2))
        else:
            table.show(report, console, keep=options.keep)
        if options.svg is not None:
            options.svg.write_text(table.svg(report), encoding="utf-8")
        return report.ok if not options.keep else _keep(options, demo, session, console, jobs, without) and report.ok


def _left_out() -> Iterator[tuple[str, str]]:
    """Scenarios that cannot be had here, and why."""
    if not denies_names():
        yield "dns-failure", "this machine's resolver does not deny names in time"
    yield from _sockets_left_out()
    version = importlib.metadata.version("openai")
    if tuple(map(int, version.split(".")[:2])) < LENIENT_BEFORE:
        for name in LENIENT:
            yield name, f"openai {version} does not mind"


def _sockets_left_out() -> Iterator[tuple[str, str]]:
    """The surfaces that need WebSockets, where these are missing; openai is not imported for it, which takes a second.
    """
    openai = importlib.metadata.distribution("openai")
    for surface, file in SOCKET_FILES.items():
        if importlib.util.find_spec("websockets") is None:
            yield surface, "the package websockets is not installed"
        elif not Path(str(openai.locate_file(file))).exists():
            yield surface, f"openai {openai.version} does not have it"


def _keep(
    options: Options, demo: Demo, session: Session, console: Console, jobs: list[Job], without: Container[str]
) -> bool:
    """Go on until Ctrl-C, round by round, and print what each round found."""
    console.print(table.scrape_config(session.metrics_url))
    ok, seed = True, options.seed
    signal.signal(signal.SIGINT, demo.interrupt)
    while not demo.interrupted:
        seed += 1
        first = jobs[-1].id + 1
        jobs = plan.make_plan(seed, KEEP_STREAMS, options.keep_rate, session.urls, without, first)
        report = demo.round(jobs, lambda done, active, stalled: None)
        ok = ok and report.ok
        console.print(table.line(report), soft_wrap=True)
    problems = session.finish()
    for problem in problems:
        console.print(table.difference(problem))
    return ok and not problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo: 0 if everything was reported as it happened, 1 if not, 2 for bad arguments."""
    try:
        options = parse(arguments)
    except SystemExit as bad:
        return int(bad.code or 0)
    console = Console(stderr=options.json, highlight=False)
    try:
        return 0 if _run(options, console) else 1
    except DemoError as error:
        print(f"streamvitals demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("streamvitals demo: interrupted", file=sys.stderr)
        return 130
    return 1
