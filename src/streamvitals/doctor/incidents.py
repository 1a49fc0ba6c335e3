"""The command `streamvitals incidents`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from ..agent import private_directory
from ..agent.asking import address, certificate_options, tls
from ..agent.client import RefusedError, UnreachableError, ask, root_of
from ..agent.left_behind import incidents_in
from ..incidents import query, text
from ..incidents.answer import VERSION, answer
from ..incidents.page import PATH

if TYPE_CHECKING:
    import ssl

_POLL = 1.0
# An answer of the most records has less. Bytes.
_MOST_BYTES = 16 * 1024 * 1024


@click.command()
@click.option("--since", metavar="TIME", help="Incidents that went on within this time: 90s, 10m, 2h, 1d.")
@click.option("--outcome", "outcomes", multiple=True, metavar="OUTCOME", help="Only these, as in reset,timeout.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only these models.")
@click.option("--provider", "providers", multiple=True, metavar="NAME", help="Only these providers.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only with this label of your own.")
@click.option("--limit", metavar="N", help=f"Most streams, 1 to {query.MOST}.")
@click.option("--follow", "-f", is_flag=True, help="Go on, and print what is new, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow a line for each new record.")
@click.option("--url", "urls", multiple=True, metavar="URL", help="Ask the agent that serves this.")
@click.option(
    "--dir", "directory", metavar="DIR", type=click.Path(exists=True, file_okay=False),
    help="Read this STREAMVITALS_DIR, whose agent may be gone.",
)
@certificate_options
@click.argument("one", metavar="[ID]", required=False)
def incidents(
    since: str | None, outcomes: Sequence[str], models: Sequence[str], providers: Sequence[str],
    labels: Sequence[str], limit: str | None, follow: bool, as_json: bool, urls: Sequence[str],
    directory: str | None, one: str | None, cert: str | None, key: str | None, cacert: str | None,
) -> None:
    """Show what became of streams that did not complete, like ones together: streamvitals incidents --since 10m

    With an ID, of an incident, a stream, a request or a trace: that, from its request to its end. Without --url and
    --dir: of the agents of this user that run on this machine. Exit status 1 if one refuses, or one of --url does not
    answer.
    """
    if directory is not None and urls:
        raise click.UsageError("--dir and --url cannot be given together")
    asked = _parameters(since, outcomes, models, providers, labels, limit)
    try:
        context = tls(cert, key, cacert)
        sources: list[_Source] = [_directory(directory)] if directory is not None else _agents(urls, context)
        if follow:
            _follow(sources, asked, as_json, one)
        else:
            missing: list[UnreachableError] = []
            wanted = {**asked, "limit": [str(query.MOST)]} if one is not None else asked
            _show(_all_of(sources, wanted, missing), as_json, one, since)
            if any(urls or isinstance(error, RefusedError) for error in missing):
                sys.exit(1)
    except UnreachableError as error:
        click.echo(f"streamvitals: {error} -> {error.fix}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of the pipe has gone: nothing is left to flush
        sys.exit(0)


def _parameters(
    since: str | None, outcomes: Sequence[str], models: Sequence[str], providers: Sequence[str],
    labels: Sequence[str], limit: str | None,
) -> dict[str, list[str]]:
    """What is asked of an agent, checked as the agent would. Exits with 2 where it cannot be asked."""
    given: dict[str, list[str]] = {
        "outcome": list(outcomes), "model": list(models), "provider": list(providers),
        "since": [since] if since is not None else [], "limit": [limit] if limit is not None else [],
    }
    for label in labels:
        name, equals, value = label.partition("=")
        if not equals:
            raise click.UsageError(f"--label {query.shortened(label)}: NAME=VALUE is needed, as in tenant=acme")
        given.setdefault(f"label.{name}", []).append(value)
    asked = {name: values for name, values in given.items() if values}
    try:
        query.parse(asked)
    except query.BadQueryError as error:
        raise click.UsageError(str(error)) from error
    return asked


class _Directory:
    """A directory of mapped files, whose agent is gone."""

    def __init__(self, directory: str) -> None:
        self.name = os.path.abspath(directory)

    def get(self, asked: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The answer that an agent would give; of a directory that an agent serves, that agent's."""
        held = None
        try:
            held = private_directory.lock(self.name)
        except OSError as error:
            raise UnreachableError(
                f"{self.name} cannot be read: {error.strerror}", "give STREAMVITALS_DIR of the app"
            ) from error
        if held is None:
            url = str(private_directory.read_facts(self.name).get("url", ""))
            return _Agent(url).get(asked)
        try:
            kept = incidents_in(self.name)
        finally:
            private_directory.unlock(held)
        return answer(*kept, query.parse(asked), time.time())


def _directory(path: str) -> _Directory:
    """A directory of an app's; any other one ends the command with 2."""
    ours = private_directory.has_data(path) or private_directory.registered(path) or private_directory.read_facts(path)
    if not ours and os.access(path, os.R_OK):
        said = "nothing of streamvitals is there; give what the app has in STREAMVITALS_DIR"
        raise click.UsageError(f"--dir {path}: {said}")
    return _Directory(path)


class _Agent:
    """An agent that runs."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._context = context
        self.name = url.rpartition("@")[2]

    def get(self, asked: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """What it answers. Raises UnreachableError."""
        with ask(self._url, f"{PATH}?{urlencode(asked, doseq=True)}", self._context) as reply:
            try:
                made = json.loads(reply.read(_MOST_BYTES))
                if made["version"] != VERSION:
                    raise ValueError("another version")
                text.check(made)
            except (OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError,
                    RecursionError) as error:
                why = f"what {root_of(self._url)} answers is not understood"
                raise UnreachableError(why, "use the same version of streamvitals on both sides") from error
        return dict(made)


_Source = _Directory | _Agent


def _agents(urls: Sequence[str], context: ssl.SSLContext | None) -> list[_Source]:
    found = [*map(address, urls)] or private_directory.urls(os.environ)
    if not found:
        raise UnreachableError(
            "no agent of this user runs here", "`streamvitals run -- COMMAND` starts one; --url asks one elsewhere"
        )
    return [_Agent(url, context) for url in dict.fromkeys(found)]


def _all_of(
    sources: Iterable[_Source], asked: Mapping[str, Sequence[str]], missing: list[UnreachableError]
) -> dict[str, Any]:
    """The answers of all, as one; what is of an agent names it. An agent that does not answer is said on stderr, unless
    it is the only one, and why is added to ``missing``. Raises UnreachableError where none does."""
    answers, fault = [], UnreachableError("no agent answers")
    sources = list(sources)
    for source in sources:
        try:
            made = source.get(asked)
        except UnreachableError as error:
            fault = error
            missing.append(error)
            if len(sources) > 1:
                click.echo(f"streamvitals: {error} -> {error.fix}", err=True)
            continue
        for each in (*made["incidents"], *made["records"]):
            each["agent"] = source.name
        answers.append(made)
    if not answers:
        raise fault
    return {
        "version": VERSION, "now": max(made["now"] for made in answers),
        "incidents": sorted((i for made in answers for i in made["incidents"]), key=lambda i: -float(i["last"])),
        "records": [record for made in answers for record in made["records"]],
        "slowest": {
            kind: [one for made in answers for one in made["slowest"].get(kind, ())] for kind in answers[0]["slowest"]
        },
        "truncated": sum(made["truncated"] for made in answers), "lost": sum(made["lost"] for made in answers),
    }


def _show(made: dict[str, Any], as_json: bool, one: str | None, since: str | None) -> None:
    if one is not None:
        made = _only(made, one)
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    now, several = made["now"], len({each["agent"] for each in made["incidents"]}) > 1
    for incident in reversed(made["incidents"]):  # the last one stands next to the prompt
        lines = text.incident_lines(incident, now)
        if several:
            lines[0] += f"  {text.plain(incident['agent'])}"
        click.echo("\n".join(lines))
        if one is not None:
            for record in made["records"]:
                if record["id"] in incident["records"]:
                    click.echo("\n".join(text.record_lines(record, now)))
    if one is not None:
        for record in made["records"]:
            if record["kind"] != "ended":
                click.echo("\n".join([text.slow_heading(record), *text.record_lines(record, now)]))
        return
    if not made["incidents"]:
        click.echo(f"no incidents{f' in the last {since}' if since else ''} are kept")
    for line in text.slowest_lines(made, now):
        click.echo(line)


def _only(made: dict[str, Any], one: str) -> dict[str, Any]:
    """What has this id."""
    records = [
        record for record in made["records"] if one in (record["id"], record["request_id"], record["trace_id"])
    ]
    named = {record["id"] for record in records}
    incidents = [i for i in made["incidents"] if i["id"] == one or named.intersection(i["records"])]
    if not incidents and not records:
        raise UnreachableError(
            f"nothing that is kept has the id {query.shortened(one)}", "see `streamvitals incidents` for those that do"
        )
    if not named:
        named = {record for incident in incidents for record in incident["records"]}
        records = [record for record in made["records"] if record["id"] in named]
    return {**made, "incidents": incidents, "records": records, "slowest": {kind: [] for kind in made["slowest"]}}


def _follow(sources: list[_Source], asked: Mapping[str, Sequence[str]], as_json: bool, one: str | None) -> None:
    if one is not None:
        raise click.UsageError("--follow takes no ID")
    counts: dict[str, int] = {}
    records: set[str] = set()
    while True:
        made = _all_of(sources, asked, [])
        if as_json:
            fresh = [record for record in made["records"] if record["id"] not in records]
            for record in sorted(fresh, key=lambda record: float(record["time"])):
                click.echo(json.dumps(record))
            records = {record["id"] for record in made["records"]}
        for incident in () if as_json else reversed(made["incidents"]):
            before = counts.get(incident["id"])
            if before is None:
                click.echo("\n".join(text.incident_lines(incident, made["now"])))
            elif incident["count"] != before:
                more = f"{text.clock(incident['last'], made['now'])}  +{incident['count'] - before}: "
                click.echo(more + f"{text.headline(incident)}  [{text.plain(incident['id'])}]")
        counts = {incident["id"]: incident["count"] for incident in made["incidents"]}
        sys.stdout.flush()
        time.sleep(_POLL)
