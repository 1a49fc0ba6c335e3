"""The command line. `run` starts in run/entry.py; its help and errors in its options are here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import click

from ._version import __version__
from .doctor.incidents import incidents
from .doctor.ps import ps
from .export.command import alerts, checked_config, dashboards, runbook
from .report.command import report
from .run import entry
from .top.command import top

HOST_HELP = "Where /metrics is served; STREAMVITALS_HOST, else localhost."
WEB_HELP = "Who may read, and TLS, in Prometheus' own format; STREAMVITALS_WEB_CONFIG."
PORT_HELP = "Port of /metrics; STREAMVITALS_PORT, else 9464. If 0 or taken: any free one."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="streamvitals")
def main() -> None:
    """Shows whether LLM token streams are alive."""


main.add_command(alerts)
main.add_command(dashboards)
main.add_command(incidents)
main.add_command(top)
main.add_command(ps)
main.add_command(report)
main.add_command(runbook)


@main.command(context_settings={"allow_interspersed_args": False})
@click.option("--host", metavar="HOST", help=HOST_HELP)
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help=PORT_HELP)
@click.option("--web-config", metavar="FILE", help=WEB_HELP)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(host: str | None, port: int | None, web_config: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND with its streams watched: streamvitals run -- python app.py

    The command replaces this process: pid, terminal, signals, descriptors and exit code are its own.
    """
    entry.run(host, port, command, web_config)


@main.command()
@click.option(
    "--dir", "directory", required=True, metavar="DIR", help="What the app has in STREAMVITALS_DIR.",
    type=click.Path(exists=True, file_okay=False),
)
@click.option("--host", metavar="HOST", help=HOST_HELP)
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help=PORT_HELP)
@click.option("--web-config", metavar="FILE", help=WEB_HELP)
def agent(directory: str, host: str | None, port: int | None, web_config: str | None) -> None:
    """Serve what an agent that was killed has left behind, until interrupted."""
    from .agent.serve import serve_directory
    from .run import checks, launch

    config = checked_config(os.environ)
    config = launch.with_options(config, host, port, web_config)
    try:
        listener = launch.bind(config.host, config.port)
    except (OSError, UnicodeError) as error:
        raise click.UsageError(f"{launch.HOST}: {config.host!r} is no address to serve on: {error}") from error
    try:
        with listener:
            unusable, note, tls = checks.who_may_read(config, listener)
            if unusable:
                raise click.UsageError(str(unusable[0]))
            url = launch.url_of(listener, config.host, tls=tls)
            said = (checks.where(url), note)
            click.echo("".join(f"streamvitals: {line}\n" for line in said if line), err=True)
            serve_directory(os.path.abspath(directory), listener, url, config)
    except OSError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--mix", default="", metavar="SHARES",
              help="Shares of the requests, each with its scenario: reset=0.1,stall?after=5=0.05")
@click.option("--seed", default=1, show_default=True, metavar="N",
              help="Seed of the mix: the same seed draws the same sequence.")
@click.option("--model", "models", multiple=True, metavar="NAME=SCENARIO",
              help="Scenario for requests to one model, as in gpt-4o=429; may be repeated.")
@click.option("--otherwise", default="ok", show_default=True, metavar="SCENARIO",
              help="Scenario for all other requests.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Where the API is served.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Any free one by default.")
@click.option("--port-file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the port there once connections are accepted.")
@click.option("--log", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE",
              help="Append one JSON line per finished request; - for stdout.")
@click.option("--list", "as_list", is_flag=True, help="List the scenarios and how each is reported, and exit.")
def faults(
    mix: str, seed: int, models: tuple[str, ...], otherwise: str, host: str, port: int, port_file: Path | None,
    log: str | None, as_list: bool,
) -> None:
    """Serve an OpenAI-compatible API that breaks streams as it is told: streamvitals faults --mix reset=0.1

    Prints its base URL, and serves until interrupted; any API key will do. A request names its scenario in the model
    (sv-reset?after=5) or in the header sv-scenario; one that names none gets its share of the mix.
    """
    from .faults import FaultServer, Mix, listing
    from .faults.script import by_model
    from .faults.serve import PortFileError, serve

    if as_list:
        click.echo(listing.text())
        return
    try:
        drawn, choices = Mix.parse(mix, seed, otherwise), by_model(models)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        with _appended(log) as log_file:
            server = FaultServer(log_file=log_file, default=drawn)
            server.by_model.update(choices)
            serve(server, host, port, port_file)
    except PortFileError as error:
        raise click.UsageError(f"--port-file: {error}") from error
    except (OSError, UnicodeError) as error:
        raise click.UsageError(f"cannot serve on {host}:{port}: {error}") from error


@contextmanager
def _appended(log: str | None) -> Iterator[TextIO | None]:
    if log is None or log == "-":
        yield sys.stdout if log else None
        return
    try:
        file = open(log, "a", encoding="utf-8")  # noqa: SIM115  its close may fail
    except OSError as error:
        raise click.UsageError(f"--log: {error}") from error
    try:
        yield file
    finally:
        with suppress(OSError):  # reported when the line was written
            file.close()


@main.command(context_settings={"allow_interspersed_args": False})
@click.option("--connect", is_flag=True, help="Also ask the server for its models; spends no tokens.")
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS", help="For --connect.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program to read.")
@click.option("--dir", "directory", metavar="DIR", help="Look at the app that has this STREAMVITALS_DIR.")
@click.option("--url", metavar="URL", help="Look at the app whose agent serves this.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def doctor(
    connect: bool, timeout: float, as_json: bool, directory: str | None, url: str | None, command: tuple[str, ...]
) -> None:
    """Report what is there, what would not work and how to fix it: streamvitals doctor -- python app.py

    Exit status 1 if anything would not work, 2 if a variable has a value that is not allowed.
    """
    from . import doctor
    from .doctor.check import BAD_VALUE, FAIL
    from .doctor.machine import check_values
    from .doctor.running import check_directory_of, check_url

    if directory is not None:
        checks = [*check_values(os.environ), *check_directory_of(directory)]
    elif url is not None:
        checks = [*check_values(os.environ), *check_url(url)]
    else:
        checks = doctor.examine(command, os.environ, connect=timeout if connect else None)
    if as_json:
        click.echo(json.dumps([check._asdict() for check in checks], indent=2))
    for check in () if as_json else checks:
        click.echo(f"{check.status:<4}  {check.what}" + (f"\n      -> {check.mend}" if check.mend else ""))
    bad = any(check.exit == BAD_VALUE for check in checks)
    sys.exit(BAD_VALUE if bad else any(check.status == FAIL for check in checks))
