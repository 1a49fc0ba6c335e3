"""The README and the pages that it leads to: their tables, links, commands and pictures are what the code has."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_support
import streamvitals
from otel_support import CLOCK
from streamvitals import cli
from streamvitals.otel.traces import TraceSink, tracer_of
from streamvitals.outcome import Outcome
from streamvitals.sinks.journal import JournalSink
from streamvitals.stream.record import Attempt, Stall, StreamRecord

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FOLDERS = (".", "docs", "alerts", "alerts/runbooks", "dashboards", "deploy")
PAGES = [str(page.relative_to(ROOT)) for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]
COMMANDS = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_generated_tables_are_up_to_date() -> None:
    checked = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], check=False, stderr=-1)
    assert checked.returncode == 0, checked.stderr.decode()


@pytest.mark.parametrize("name", PAGES)
def test_the_make_targets_of_a_page_exist(name: str) -> None:
    named = set(COMMANDS.findall((ROOT / name).read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
    if name == "README.md":
        assert {"demo", "test"} <= named


def commands_in(page: Path) -> Iterator[list[str]]:
    """The command lines of ours that a page shows, in blocks and in code spans, up to the app's command or a pipe."""
    text = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for line in [*"".join(blocks).splitlines(), *re.findall(r"`([^`\n]+)`", text)]:
        words = shlex.split(line, comments=True) if "streamvitals " in line else []
        while words and "=" in words[0]:
            del words[0]  # a variable
        if len(words) > 1 and words[0] == "streamvitals":
            end = min(words.index(stop) if stop in words else len(words) for stop in ("--", "|", "&"))
            yield words[1:end]


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_exist_and_take_its_options(name: str) -> None:
    shown = list(commands_in(ROOT / name))
    assert shown or name != "README.md"
    for command, *rest in shown:
        known = {option for parameter in cli.main.commands[command].params for option in parameter.opts}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, (command, rest)


@pytest.mark.parametrize("name", PAGES)
def test_the_links_of_a_page_lead_somewhere(name: str) -> None:
    page = ROOT / name
    targets = links(page)
    assert targets or name != "README.md"
    for target in targets:
        if target.startswith(("https://", "http://")):
            continue
        path, _, fragment = target.partition("#")
        other = page.parent / path if path else page
        assert other.exists(), target
        assert not fragment or fragment in anchors(other), target


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached = {(ROOT / target.partition("#")[0]).resolve() for target in links(README)}
    assert {page.resolve() for page in (ROOT / "docs").glob("*.md")} <= reached


def test_the_readme_stays_short() -> None:
    assert len(README.read_text().splitlines()) <= 130


def test_a_chunk_costs_what_the_readme_says() -> None:
    assert "adds about one percent to the CPU that the SDK spends on a chunk" in " ".join(README.read_text().split())
    lines = (ROOT / "docs" / "costs.md").read_text().splitlines()
    shares = [line.split("|")[5] for line in lines if line.startswith("| a chunk |")]
    assert shares
    assert all(float(share.strip().removesuffix("%")) < 2.0 for share in shares)


def test_ci_runs_the_readmes_test_command() -> None:
    """The last command of each: nothing that CI does beside it decides."""
    section = README.read_text().partition("## Tests\n")[2]
    (command,) = re.findall(r"```sh\n(.+?)(?: +#.*)?\n```", section)
    *_, last = (ROOT / ".ci" / "run").read_text().strip().splitlines()
    assert last == command


def test_the_picture_needs_nothing_from_elsewhere() -> None:
    picture = (ROOT / "docs" / "demo.svg").read_text()
    assert "://" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert "no differences" in picture.replace("&#160;", " ")


def cells(page: str) -> set[str]:
    """The code spans in the first column of a page's tables."""
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_attribute_of_a_span_is_described() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sink = TraceSink(tracer_of(provider))
    retried = otel_support.record(
        attempts=(Attempt(1, CLOCK, CLOCK + 0.5, 503, "503", 0.1), Attempt(2, CLOCK + 0.6, CLOCK + 2.0, 200)),
        outcome=Outcome.RESET, error_type="connection_reset", hints=("unread_body",), server_port=443, retry_after=1.0,
        retry_after_honored=True, request_id="req_1", stall_times=(Stall(0.5, 6.0, "first_token"),), partial="text",
    )
    sink.make_span(retried)
    (whole,) = (span for span in exporter.get_finished_spans() if span.name == "chat gpt-4o-mini")
    described = cells("signals.md")
    assert set(whole.attributes or ()) | {event.name for event in whole.events} <= described
    assert {name for name in described if name.startswith("streamvitals.")} <= set(whole.attributes or ())


def test_every_field_of_the_journal_is_described(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    JournalSink(str(journal)).on_end(otel_support.record(partial="text"))
    assert json.loads(journal.read_text()).keys() <= cells("journal.md")


# Fields of a record that are its makers' and takers' own.
INTERNAL = {
    "progress", "clock_origin", "retry_of", "chunk_times", "request", "inside", "trace_parent", "operation", "slot",
    "span",
}


def test_what_is_public_is_described() -> None:
    """Every argument, and every field and property of a record but those that are internal."""
    described = cells("api.md")
    assert set(inspect.signature(streamvitals.instrument).parameters) <= described
    properties = {name for name, value in vars(StreamRecord).items() if isinstance(value, property)}
    assert {*StreamRecord._fields, *properties} - INTERNAL <= described
    assert not described & INTERNAL
    functions = {name.partition("(")[0].removeprefix("streamvitals.") for name in described}
    assert set(streamvitals.__all__) <= functions


def test_what_troubleshooting_quotes_is_what_is_said() -> None:
    """Each part between the dots of a quotation stands in the source."""
    said = " ".join(path.read_text() for path in (ROOT / "src" / "streamvitals").rglob("*.py"))
    said = re.sub(r"\{[^{}]*\}", "…", re.sub(r'"\s*f?"', "", said))
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    spans = [span for row in rows for span in re.findall(r"`([^`]+)`", row)]
    quoted = [span for span in spans if " " in span and not span.startswith('"')]
    assert len(quoted) > 15
    for quote in quoted:
        for part in quote.split("…"):
            assert part.strip() in said, quote


PACKAGE = ROOT / "src" / "streamvitals"
ROOMS = sorted(init.parent.name for init in PACKAGE.glob("*/__init__.py"))


def paths_in(page: str) -> set[str]:
    """The files and folders that a page names in code spans: `stream/observe.py`, `tests/test_x*.py`, `otel/`."""
    return set(re.findall(r"`([\w./*]+(?:\.(?:py|md|yaml|json)|/))`", (ROOT / page).read_text()))


NAMING_FILES = {"docs/architecture.md", "docs/decisions.md", "CONTRIBUTING.md", "SECURITY.md"}


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_exist(page: str) -> None:
    """Below the package, the repository or the page's own folder."""
    named = paths_in(page)
    assert named or page not in NAMING_FILES
    for path in named:
        found = [place for base in (PACKAGE, ROOT, (ROOT / page).parent) for place in base.glob(path.strip("/"))]
        assert found or ("/" not in path and [*PACKAGE.rglob(path)]), path


def test_the_drawing_shows_every_room() -> None:
    drawing = (ROOT / "docs" / "architecture.svg").read_text()
    page = (ROOT / "docs" / "architecture.md").read_text()
    for room in ROOMS:
        assert f"{room}/" in drawing, room
        assert f"`{room}/`" in page, room
