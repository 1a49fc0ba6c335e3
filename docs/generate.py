"""Write the generated tables of the pages in docs/: what outcome.py, names.py and config/ define, and the benchmark.

    python docs/generate.py            write them
    python docs/generate.py --check    exit 1 if one is out of date

A table stands between `<!-- name -->` and `<!-- /name -->`. docs/words.md is generated as a whole, from
vocabulary.py, and docs/outcomes.svg, from palette.py.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from streamvitals import config, conventions, names, outcome
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.ruleset import rule_groups
from streamvitals.config import PORT_BESIDE, Config
from streamvitals.export.leaving_out import PageLostError, without
from streamvitals.faults import listing
from streamvitals.faults.surface_scenarios import ONLY_SURFACES
from streamvitals.names import Metric
from streamvitals.outcome import ERROR_TYPES, Outcome
from streamvitals.palette import OUTCOME_COLORS
from streamvitals.stream import vocabulary

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "bench" / "results.md"
# By Python; the second one is measured less often.
RESULTS_OF = {"3.11": RESULTS, "3.13": RESULTS.with_name("results-3.13.md")}
RESULTS_OF = {python: path for python, path in RESULTS_OF.items() if path.exists()}
COMPARED = ("streamvitals", "with spans", "sentry-sdk")
WORDS = DOCS / "words.md"
COLORS = DOCS / "outcomes.svg"

# Variable -> default, what it does. `--check` fails if config/ reads a variable that is not here, or the reverse.
SETTINGS: dict[str, tuple[str, str]] = {
    "STREAMVITALS_HOST": (Config.host, "where `run` serves /metrics and /healthz"),
    "STREAMVITALS_PORT": (str(Config.port), "its port, 0 for any; if it is taken, any free one"),
    "STREAMVITALS_WEB_CONFIG": (
        "", "[who may read that](running.md#who-may-read), and TLS, in Prometheus' own format (extra `auth`)"
    ),
    "STREAMVITALS_TOKEN_FILE": ("", "a file with the token that clients have to show"),
    "OTEL_EXPORTER_PROMETHEUS_HOST": ("", "the same as `STREAMVITALS_HOST`, which outranks it"),
    "OTEL_EXPORTER_PROMETHEUS_PORT": (
        "",
        "the same as `STREAMVITALS_PORT`, which outranks it; the app's if `OTEL_METRICS_EXPORTER` lists `prometheus`",
    ),
    "OTEL_CONFIG_FILE": ("", "a file that is then the source in place of all other `OTEL_*` (extra `declarative`)"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("", "set: metrics and spans go there too, as http/protobuf (extra `otlp`)"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("", "any but `http/protobuf` is for the app's own pipeline"),
    "OTEL_TRACES_EXPORTER": ("", "`otlp` or `none`, whatever the endpoint says"),
    "OTEL_METRICS_EXPORTER": (
        "", f"`otlp` or `none`, whatever the endpoint says; with `prometheus` `run` serves on {PORT_BESIDE}"
    ),
    "OTEL_LOGS_EXPORTER": (
        "", "`otlp`, or an `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`:"
        " [each failure is sent as a record of the log](signals.md#failures-as-records-of-the-log)"
    ),
    "OTEL_SDK_DISABLED": ("false", "`true`: do nothing at all"),
    "STREAMVITALS_STALL_SECONDS": (
        f"{Config.stall_after:g}", "a stream that waits longer for its next chunk is [stalled](metrics.md#stalled)"
    ),
    "STREAMVITALS_FIRST_TOKEN_STALL_SECONDS": (
        f"{Config.first_token_stall_after:g}",
        "the same before the first token of the answer; the default is `STREAMVITALS_STALL_SECONDS` if that is longer",
    ),
    "STREAMVITALS_RETRY_WINDOW_SECONDS": (
        f"{Config.retry_window:g}", "a request asked again within it is a retry by the app"
    ),
    "STREAMVITALS_LINGER_SECONDS": (f"{Config.linger:g}", "the agent serves for so long after the app has ended"),
    "STREAMVITALS_FINISH_OPTIONAL_HOSTS": ("", "servers that never send a finish_reason: `[DONE]` alone ends a stream"),
    "STREAMVITALS_PROVIDERS": (
        "", "names the provider behind an address: `localhost:11434=ollama,llm.corp=litellm`"
    ),
    "STREAMVITALS_LABELS": ("", "[labels of your own](labels.md): `tenant=metadata:tenant_id,feature=code`"),
    "STREAMVITALS_LABEL_VALUES": (str(Config.label_values), "how many values of each are told apart"),
    "STREAMVITALS_LABEL_SETS": (
        str(Config.label_sets), "how many sets of labels are told apart, half of them without labels of your own"
    ),
    "STREAMVITALS_METRICS": (
        "all", "what to show of the metrics: `-durations,-first_chunk` leaves these groups out"
        " ([groups](series.md#what-to-leave-out-first))"
    ),
    "STREAMVITALS_CONVENTIONS": (
        Config.conventions,
        f"which of OpenTelemetry's GenAI conventions are sent: {', '.join(f'`{g}`' for g in conventions.GENERATIONS)}",
    ),
    "OTEL_SEMCONV_STABILITY_OPT_IN": (
        "", f"`{config.OPT_IN}`: the latest conventions only, whatever `STREAMVITALS_CONVENTIONS` says"
    ),
    "STREAMVITALS_SPANS": (
        Config.spans, "`auto`: spans, but inside another instrumentation's inference; `always`; `never`"
    ),
    "STREAMVITALS_HTTP_SPANS": ("false", "`true`: transport spans of the SDK's HTTP client (extra `http-spans`)"),
    "STREAMVITALS_CAPTURE_PARTIAL": (
        "0", "how many bytes of a failed stream's last text its span and the journal get; off, since it is content"
    ),
    "STREAMVITALS_REDACT": ("", "`package.module:function` that the captured text is passed through"),
    "STREAMVITALS_JOURNAL": ("", "a file that gets one JSON line per ended stream, relative to where `run` "
     "was started; `/dev/stdout` is the app's own"),
    "STREAMVITALS_QUIET": ("false", "`true`: write nothing to stderr, neither at the start nor for a failed stream"),
}
# Set by `run` for the app, not by people.
INTERNAL = {"STREAMVITALS_DIR"}
# Read by name or by a name that is put together; the variants per signal are the standard's own.
STANDARD = {"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_CONFIG_FILE"}


def metrics() -> Iterator[str]:
    """The metrics that /metrics has."""
    yield "| metric | type | labels of its own | what |"
    yield "|---|---|---|---|"
    for metric in names.ALL_METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{_sample(metric)}` | {metric.kind} | {labels} | {metric.help} |"


def semconv() -> Iterator[str]:
    """The metrics of OpenTelemetry's conventions, and what they were called before."""
    yield "| metric of the conventions | type, unit | what | with `STREAMVITALS_CONVENTIONS=1.41` |"
    yield "|---|---|---|---|"
    for metric in (*conventions.METRICS, conventions.OPERATION_DURATION):
        old, token_type = conventions.OLD_METRICS.get(metric, ("", ""))
        before = (f"`{old}`" + f" of `gen_ai.token.type` {token_type}" * bool(token_type)) if old else "-"
        yield f"| `{metric.otel}` | {metric.kind}, `{metric.unit}` | {metric.help} | {before} |"


def _sample(metric: Metric) -> str:
    return metric.prometheus + ("_total" if metric.kind == "counter" else "")


_OF_CALLS = names.GROUPS["calls"]


def series() -> Iterator[str]:
    """How many series of each family a label set has at 0, and how many may come."""
    yield "| family | at 0 | may appear |"
    yield "|---|---|---|"
    for metric in names.ALL_METRICS:
        if metric.per_stream and metric not in _OF_CALLS:
            standing, all_of_it = _standing(metric), len(metric.values) * _samples(metric)
            yield f"| `{_sample(metric)}` | {standing} | {all_of_it - standing or ''} |"
    yield f"| **together** | **{_of_label_set()}** | |"


def series_of_calls() -> Iterator[str]:
    """The same of a label set with calls without a stream."""
    yield "| family | at 0 | may appear |"
    yield "|---|---|---|"
    for metric in _OF_CALLS:
        standing, all_of_it = _standing(metric), len(metric.values) * _samples(metric)
        yield f"| `{_sample(metric)}` | {standing} | {all_of_it - standing or ''} |"
    yield f"| **together** | **{sum(map(_standing, _OF_CALLS))}** | |"


def formula() -> Iterator[str]:
    """How many series there are."""
    own, each = sum(_standing(m) for m in (*names.PROCESS_METRICS, names.UNREPORTED)) + 1, _of_label_set()
    yield "```"
    calls = sum(map(_standing, _OF_CALLS))
    yield f"series = replicas x ({own} + label sets with streams x {each} + label sets with plain calls x {calls})"
    yield "```"
    yield ""
    yield "| label sets with streams | 1 replica | 10 replicas | 100 replicas |"
    yield "|---|---|---|---|"
    for sets in (1, 5, 20):
        yield " | ".join((f"| {sets}", *(f"{replicas * (own + sets * each):,}" for replicas in (1, 10, 100)))) + " |"


def groups() -> Iterator[str]:
    """What STREAMVITALS_METRICS leaves out, and what alerts then lack."""
    yield "| group | metrics | series of a label set | without it |"
    yield "|---|---|---|---|"
    content = rule_groups(Objectives())
    for group, metrics in names.GROUPS.items():
        try:
            _, lost = without(content, frozenset(metric.otel for metric in metrics))
            lacking = ", ".join(sorted(lost)) or "no alert is lost"
        except PageLostError as error:
            lacking = f"no pages: {str(error).split(' cannot')[0]}"
        count = sum(_standing(metric) for metric in metrics if metric.per_stream)
        yield f"| `{group}` | {', '.join(f'`{_sample(metric)}`' for metric in metrics)} | {count} | {lacking} |"


def _of_label_set() -> int:
    return sum(_standing(m) for m in names.ALL_METRICS if m.per_stream and m not in _OF_CALLS)


def _standing(metric: Metric) -> int:
    return len(metric.standing if metric.hidden_at_zero else metric.values) * _samples(metric)


def _samples(metric: Metric) -> int:
    """The samples of a series: of a histogram its buckets, their count and their sum."""
    return len(metric.edges) + 3 if metric.kind == "histogram" else 1


def outcomes() -> Iterator[str]:
    """The outcomes, as drawn at the top of outcome.py."""
    meaning = dict(re.findall(r"^ +[|`]- (\w+) +(.+?) +\(.+\)$", outcome.__doc__ or "", re.MULTILINE))
    yield "| outcome | when | result | owner | error types |"
    yield "|---|---|---|---|---|"
    for one in Outcome:
        owner = outcome.owner(one)
        errors = ", ".join(f"`{error}`" for error in ERROR_TYPES.get(one, ()))
        means = f"`{outcome.result(one)}`"
        yield f"| `{one.value}` | {meaning[one.value]} | {means} | {'-' if owner == 'nobody' else owner} | {errors} |"


def settings() -> Iterator[str]:
    """The environment variables. Raises ValueError if one that is read is not described, or the reverse."""
    source = Path(config.__file__).read_text()
    read = set(re.findall(r'"((?:STREAMVITALS|OTEL)_[A-Z_]+)"', source)) - INTERNAL
    if wrong := (read | STANDARD) ^ SETTINGS.keys():
        raise ValueError(f"described but not read, or read but not described: {sorted(wrong)}")
    yield "| variable | default | what |"
    yield "|---|---|---|"
    for name, (default, what) in SETTINGS.items():
        yield f"| `{name}` | {f'`{default}`' if default else ''} | {what} |"


def benchmark() -> Iterator[str]:
    """The last results of `make bench`, without their heading and their spread."""
    text = RESULTS.read_text() if RESULTS.exists() else "Not measured yet: `make bench` writes it.\n"
    yield re.sub(r"^#.*\n+", "", text).split("## Spread")[0].strip()


def by_python() -> Iterator[str]:
    """What streamvitals costs beside the cheapest other, from the results on each Python."""
    tables = {python: _cells(path) for python, path in RESULTS_OF.items()}
    heads = [f"{side}, {python}" for side in COMPARED for python in tables]
    yield f"| added by | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(heads)
    for row in tables["3.11"]:
        found = [tables[python][row].get(side, "") for side in COMPARED for python in tables]
        yield f"| {row} | {' | '.join(found)} |"


def shares() -> Iterator[str]:
    """What is added to what the SDK itself spends, on a chunk and on a stream of 20, with chunks that it builds."""
    yield "| on | Python | the SDK alone (µs) | streamvitals adds (µs) | share | with spans (µs) | share |"
    yield "|---|---|---|---|---|---|---|"
    for python, path in RESULTS_OF.items():
        spread = _spread(path)
        for what, title, of, chunks in (
            ("a chunk", "CPU per chunk, sync", "share of the SDK's CPU for a chunk that it builds", 0),
            ("a stream of 20 chunks", "CPU per stream without its chunks, sync",
             "share of the SDK's CPU for a stream of 20 such chunks", 20),
        ):
            alone = median(without for (row, _), (without, _) in spread.items() if row == of)
            cells = []
            for side in ("streamvitals", "with spans"):
                added = spread[title, side][1] + chunks * spread["CPU per chunk, sync", side][1]
                cells += [f"{added:.1f}", f"{added / alone:.1%}"]
            yield f"| {what} | {python} | {alone:.0f} | {' | '.join(cells)} |"


def _spread(results: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """By row and side: what it was without the observer, and the median of what that added."""
    rows = [line.split("|")[1:-1] for line in results.read_text().partition("## Spread")[2].splitlines()[4:]]
    return {(title.strip(), side.strip()): (float(without), float(median))
            for title, side, without, _, _, median, *_ in rows}


def _cells(results: Path) -> dict[str, dict[str, str]]:
    """The first table of a run's results: by row, the cell of each side."""
    lines = re.sub(r"## Spread.*", "", results.read_text(), flags=re.DOTALL).splitlines()
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return {title: dict(zip(head[1:], cells, strict=True)) for title, *cells in rows}


ABOUT_WORDS = """# The words of providers

How a word of a provider counts depends on where it stands: as a finish reason, an incomplete reason or an error code.
Capitals, CamelCase, hyphens and dots make no difference, nor do `Exception` or `Error` at the end or `finish_reason`
in front: `ThrottlingException`, `error.throttling` and `THROTTLING` are one word. Of `content_filter: SAFETY` the last
part counts. If an error has several words, one that names a filter, a quota, a rate or an overload counts before a
status. The message of an error is never looked at. Generated from
[vocabulary.py](../src/streamvitals/stream/vocabulary.py) by `make docs`.
"""
ABOUT_PARTS = """## By its parts

If a word is not in the tables, a part of it may decide. The first part that is found counts. `_` stands before and
behind every word.
"""
ABOUT_REASONS = """A reason that is not in the table counts as the same finish word does, unless that is `completed`.
Any other unknown reason is a failure.
"""


def words() -> Iterator[str]:
    """The table of words, place by place, and the parts by which other words are recognised."""
    yield ABOUT_WORDS
    for place in vocabulary.Place:
        yield f"## As {'an' if place.value[0] in 'aei' else 'a'} {place.value}\n"
        yield "| counts as | words | source |"
        yield "|---|---|---|"
        for row in vocabulary.TABLE:
            if row.place is place:
                yield f"| {_counts_as(row.verdict)} | {', '.join(f'`{w}`' for w in row.words.split())} | {row.source} |"
        yield ""
        if place is vocabulary.Place.INCOMPLETE:
            yield ABOUT_REASONS
    goes_on = ", ".join(f"`{word}`" for word in sorted(vocabulary.GOES_ON))
    yield f"The finish words {goes_on} mean that the stream goes on.\n"
    yield ABOUT_PARTS
    yield "| part | as a finish word | as an error code |"
    yield "|---|---|---|"
    for pattern, at_finish, at_error in vocabulary.PARTS:
        part = pattern.replace("|", "\\|")
        yield f"| `{part}` | {_counts_as(at_finish)} | {_counts_as(at_error)} |"


def _counts_as(verdict: outcome.Verdict | None) -> str:
    said = () if verdict is None else (verdict.outcome.value, verdict.error_type)
    return " ".join(f"`{word}`" for word in said if word)


def scenarios() -> Iterator[str]:
    """What the fault server can play."""
    yield "| scenario | what happens | reported |"
    yield "|---|---|---|"
    for one in listing.played():
        name = ", ".join(f"`{name}`" for name in (one.name, *listing.short_names(one)))
        yield f"| {name} | {one.description} | {_reported(one.outcome, one.error_type)} |"


def surfaces() -> Iterator[str]:
    """What it can play on other surfaces than chat."""
    yield "| scenario | on | reported |"
    yield "|---|---|---|"
    for name, truth in ONLY_SURFACES.items():
        yield f"| `{name}` | {listing.surfaces_of(name)} | {_reported(*truth)} |"


def _reported(*outcome_and_error: str) -> str:
    return " ".join(f"`{word}`" for word in outcome_and_error if word)


def parameters() -> Iterator[str]:
    """The parameters of scenarios."""
    yield "| parameter | default | what |"
    yield "|---|---|---|"
    for name, default, does in listing.defaults():
        yield f"| `{name}` | {default} | {does} |"


# Page -> the tables in it, by the name of their markers.
PAGES: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "outcomes.md": {"outcomes": outcomes},
    "series.md": {"series": series, "series_of_calls": series_of_calls, "formula": formula, "groups": groups},
    "metrics.md": {"metrics": metrics, "semconv": semconv},
    "settings.md": {"settings": settings},
    "costs.md": {"bench": benchmark, "bench_by_python": by_python, "bench_shares": shares},
    "faults.md": {"scenarios": scenarios, "surfaces": surfaces, "parameters": parameters},
}


def colors() -> Iterator[str]:
    """A picture of every outcome in its colour; the words are legible in light and dark."""
    across, width, height = 7, 128, 26
    rows = -(-len(OUTCOME_COLORS) // across)
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{across * width}" height="{rows * height}" '
           'font-family="sans-serif" font-size="13" fill="#737373">')
    for at, (name, color) in enumerate(OUTCOME_COLORS.items()):
        x, y = at % across * width, at // across * height
        yield f'<rect x="{x + 2}" y="{y + 6}" width="14" height="14" rx="2" fill="{color}"/>'
        yield f'<text x="{x + 22}" y="{y + 18}">{name}</text>'
    yield "</svg>"


def generated(page: Path) -> str:
    """The page's text with its tables as they should be. Raises ValueError if a marker is missing."""
    text = page.read_text()
    for name, table in PAGES[page.name].items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{page.name} has no part {name}")
        text = before + begin + "\n" + "\n".join(table()) + "\n\n" + end + after
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description="The generated tables of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if something would change")
    given = parser.parse_args()
    wanted = {DOCS / name: generated(DOCS / name) for name in PAGES}
    wanted |= {WORDS: "\n".join(words()) + "\n", COLORS: "\n".join(colors()) + "\n"}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if given.check:
            print(f"{path.relative_to(ROOT)} is out of date: make docs", file=sys.stderr)
        else:
            path.write_text(wanted[path])
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
