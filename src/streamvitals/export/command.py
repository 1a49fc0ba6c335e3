"""The commands `alerts` and `dashboards`, which write rules for Prometheus and dashboards for Grafana."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..config import Config, ConfigError, left_out

if TYPE_CHECKING:
    from ..alerts.objectives import Objectives

FORCE = click.option("--force", is_flag=True, help="Overwrite files that are there and say something else.")
NAMESPACE = click.option("--namespace", default="", metavar="NAME", help="The namespace of Kubernetes' objects.")


AVAILABILITY = click.option("--availability", type=float, default=99.5, show_default=True, metavar="PERCENT",
                            help="Of the operations, how many must not fail.")
TTFT = click.option("--ttft-p95", default="2.5s", show_default=True, metavar="DURATION", help="Time to first token.")
GAP = click.option("--chunk-gap-p95", default="250ms", show_default=True, metavar="DURATION",
                   help="Time between chunks; beyond a quarter of a second text comes slower than people read.")
SERVICE_LABEL = click.option("--service-label", "service", multiple=True, metavar="LABEL",
                             help="Tells services apart; again for more than one.  [default: cluster, namespace, job, "
                             "where there are such]")
METRICS = click.option("--metrics", default="", metavar="GROUPS",
                       help="What the applications have in STREAMVITALS_METRICS: nothing is written that reads what "
                       "is left out there.  [default: that variable here]")


@click.command()
@AVAILABILITY
@TTFT
@GAP
@METRICS
@click.option("--scrape-interval", default="30s", show_default=True, metavar="DURATION",
              help="How often Prometheus scrapes, or the Collector receives.")
@click.option("--interval", default="30s", show_default=True, metavar="DURATION", help="How often rules are evaluated.")
@SERVICE_LABEL
@click.option("--by", multiple=True, metavar="LABEL",
              help="Page also if it fails for one value of this label of your own, such as tenant; again for more.")
@click.option("--only", multiple=True, metavar="LABEL=VALUE",
              help="Rules for these services alone, such as job=chat or job!=chat, so that others may have other "
              "objectives beside them; again for more.")
@click.option("--severity", "severities", multiple=True, metavar="OURS=YOURS",
              help="Your word for the severity page, ticket or none, such as page=critical; again for more.")
@click.option("--alert-label", "alert_labels", multiple=True, metavar="NAME=VALUE",
              help="A label for every alert, such as team=llm, for your routes; again for more.")
@click.option("--runbook-url", metavar="URL", help="Where you publish the runbooks; without it no alert links there.")
@click.option("--dashboard-url", metavar="URL", help="Your Grafana; without it no alert links there.")
@click.option("--format", "form", type=click.Choice([
    "prometheus", "kubernetes", "configmap", "mimir", "thanos", "victoriametrics", "grafana",
]), default="prometheus", show_default=True, help="A rule file; a PrometheusRule for the operator; a ConfigMap with "
    "the file; for mimirtool and cortextool; for Thanos' ruler; a VMRule (vmalert reads the rule file as it is); or"
    " rules of Grafana's own, with a rule file of what they need.")
@click.option("--datasource-uid", default="streamvitals-prometheus", show_default=True, metavar="UID",
              help="Of Grafana's data source, for --format grafana.")
@NAMESPACE
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE",
              help="Of Kubernetes' object, such as what the operator selects rules by; again for more.")
@click.option("--with-examples", is_flag=True,
              help="Also the examples for Alertmanager and of costs, a template, the runbooks.")
@click.option("--output", type=click.Path(file_okay=False), metavar="DIR",
              help="Write streamvitals.rules.yaml there; otherwise it is printed.")
@FORCE
def alerts(
    availability: float, ttft_p95: str, chunk_gap_p95: str, metrics: str, scrape_interval: str, interval: str,
    service: tuple[str, ...], by: tuple[str, ...], only: tuple[str, ...], severities: tuple[str, ...],
    alert_labels: tuple[str, ...], runbook_url: str | None, dashboard_url: str | None, form: str, datasource_uid: str,
    namespace: str, labels: tuple[str, ...], with_examples: bool, output: str | None, force: bool,
) -> None:
    """Write Prometheus rules that alert on LLM streams: streamvitals alerts --availability 99.9

    For Prometheus 2.42 and later. The same rules work on what is scraped and on what comes through a Collector.
    """
    from ..alerts.objectives import ObjectiveError
    from ..alerts.ruleset import rule_groups
    from . import kubernetes
    from .alertmanager_config import alertmanager_config
    from .examples import examples
    from .find import MissingFileError
    from .grafana_rules import FILE as GRAFANA_FILE
    from .grafana_rules import grafana_rules
    from .leaving_out import PageLostError, without
    from .rules import OBJECTS, file_of, render

    hidden = _left_out(metrics)
    objects = "--format kubernetes, configmap or victoriametrics"
    _only(form in OBJECTS, objects, {"--namespace": namespace, "--label": labels})
    _only(form != "grafana" or output is not None, "--output DIR", {"--format grafana": True})
    _only(form != "grafana", "other formats", {"--by": by, "--only": only})
    _only(output is not None, "--output DIR", {"--with-examples": with_examples})
    try:
        objectives = _objectives(
            {"ttft-p95": ttft_p95, "chunk-gap-p95": chunk_gap_p95, "scrape-interval": scrape_interval,
             "interval": interval},
            availability=availability, service=service or None, by=by, runbook_url=runbook_url,
            dashboard_url=dashboard_url, only=_conditions(only),
            severities=_pairs("--severity", severities, "OURS=YOURS, such as page=critical"),
            alert_labels=_pairs("--alert-label", alert_labels, "NAME=VALUE, such as team=llm"),
        )
        metadata = kubernetes.Metadata(namespace, kubernetes.labels(labels))
        content, lost = without(rule_groups(objectives), hidden)
        files = {}
        if form == "grafana":
            content, files[GRAFANA_FILE] = grafana_rules(content, objectives, datasource_uid)
        files[file_of(objectives)] = render(objectives, form, metadata, content)
        if with_examples:
            files |= examples(objectives)
        if with_examples and form == "kubernetes":
            files |= alertmanager_config(objectives, namespace)
    except (ObjectiveError, kubernetes.ManifestError, PageLostError) as error:
        raise click.UsageError(str(error)) from error
    except MissingFileError as error:
        raise click.ClickException(str(error)) from error
    _warn_of_undeclared(by)
    _warn_of_no_links(**{"--runbook-url": objectives.runbook_url, "--dashboard-url": objectives.dashboard_url})
    for name, groups in lost.items():
        click.echo(f"{name} is not written: it reads what is left out, {', '.join(sorted(groups))}", err=True)
    _write(files, output, force)


@click.command()
@click.option("--schema", type=click.Choice(["classic", "v2"]), default="classic", show_default=True,
              help="v2: resources as Grafana 12 and later store them, for --format plain.")
@click.option("--format", "form", type=click.Choice(["plain", "provisioning", "kubernetes"]), default="plain",
              show_default=True, help="JSON to import; what belongs below /etc/grafana/provisioning; or ConfigMaps for "
              "the sidecar of Grafana's Helm charts.")
@AVAILABILITY
@TTFT
@GAP
@METRICS
@SERVICE_LABEL
@click.option("--by", multiple=True, metavar="LABEL",
              help="A label of your own to choose by, such as tenant, and a row by it; again for more.")
@click.option("--runbook-url", metavar="URL", help="Where you publish the runbooks; without it no panel links there.")
@click.option("--folder", metavar="NAME", help="Of Grafana's, to put them into; for kubernetes the annotation "
              "grafana_folder, which the chart must know (sidecar.dashboards.folderAnnotation).")
@NAMESPACE
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE",
              help="What the sidecar looks for, instead of grafana_dashboard=1; again for more.")
@click.option("--prometheus-url", default="", metavar="URL", help="For provisioning: make it a data source, too.")
@click.option("--tempo-url", default="", metavar="URL", help="For provisioning: the same, with links to its traces.")
@click.option("--without-traces", is_flag=True,
              help="Where Grafana has no Tempo: ask no trace store, and lead to none.")
@click.option("--scrape-interval", metavar="DURATION",
              help="How often Prometheus scrapes: graphs are as fine as that, and rates span four scrapes.  [default: "
              "a point a minute, which suits up to 2m]")
@click.option("--output", type=click.Path(file_okay=False), metavar="DIR",
              help="Write them there; --format kubernetes is printed otherwise.")
@FORCE
def dashboards(
    schema: str, form: str, availability: float, ttft_p95: str, chunk_gap_p95: str, metrics: str,
    service: tuple[str, ...], by: tuple[str, ...], runbook_url: str | None,
    folder: str | None, namespace: str, labels: tuple[str, ...],
    prometheus_url: str, tempo_url: str, without_traces: bool, scrape_interval: str | None,
    output: str | None, force: bool,
) -> None:
    """Write Grafana's dashboards of LLM streams: streamvitals dashboards --output DIR

    They read what Prometheus scraped, or what came through a Collector. Give them the objectives that the alerts have.
    """
    from ..alerts.objectives import ObjectiveError, seconds
    from . import grafana, kubernetes, leaving_out
    from .dashboards import dashboards_for, with_least_step
    from .find import MissingFileError
    from .schema_v2 import to_v2

    hidden = _left_out(metrics)
    _only(form == "kubernetes", "--format kubernetes", {"--namespace": namespace, "--label": labels})
    sources_given = {"--prometheus-url": prometheus_url, "--tempo-url": tempo_url}
    _only(form == "provisioning", "--format provisioning", sources_given)
    _only(form != "plain", "--format provisioning or kubernetes", {"--folder": folder is not None})
    if without_traces and tempo_url:
        raise click.UsageError("--without-traces and --tempo-url contradict each other")
    _only(form == "plain", "--format plain", {"--schema v2": schema == "v2"})
    if output is None and form != "kubernetes":
        raise click.UsageError("--output DIR is missing: these are several files; --format kubernetes makes one")
    try:
        annotations = {} if folder is None else {grafana.FOLDER_ANNOTATION: folder}
        selected_by = kubernetes.labels(labels or (grafana.SIDECAR_LABEL,))
        metadata = kubernetes.Metadata(namespace, selected_by, annotations)
        objectives = _objectives(
            {"ttft-p95": ttft_p95, "chunk-gap-p95": chunk_gap_p95},
            availability=availability, service=service or None, by=by, runbook_url=runbook_url,
        )
        sources = grafana.Sources(prometheus_url, tempo_url, scrape_interval or grafana.SCRAPE_INTERVAL)
        files = dashboards_for(objectives)
        if scrape_interval is not None:
            step = seconds(scrape_interval, "scrape-interval")
            files = {name: with_least_step(text, step) for name, text in files.items()}
        if without_traces:
            files = {name: leaving_out.without_traces(text) for name, text in files.items()}
        for name, text in files.items() if hidden else ():
            files[name], lost = leaving_out.panels_without(text, hidden)
            if lost:
                titles = ", ".join(f'"{title}"' for title in lost)
                groups = ", ".join(sorted(set().union(*lost.values())))
                click.echo(f"{name} is written without {titles}: they read what is left out, {groups}", err=True)
        if schema == "v2":
            files = {name: to_v2(text) for name, text in files.items()}
        if form == "provisioning":
            files = grafana.provisioning(files, sources, folder or grafana.FOLDER)
        elif form == "kubernetes":
            files = {grafana.CONFIG_MAPS: grafana.config_maps(files, metadata)}
    except (ObjectiveError, kubernetes.ManifestError, grafana.SourceError) as error:
        raise click.UsageError(str(error)) from error
    except MissingFileError as error:
        raise click.ClickException(str(error)) from error
    _warn_of_undeclared(by)
    _warn_of_no_links(**{"--runbook-url": objectives.runbook_url})
    _write(files, output, force)


@click.command()
@click.argument("alert", required=False, metavar="[ALERT]")
def runbook(alert: str | None) -> None:
    """Print the runbook of an alert: streamvitals runbook StreamvitalsFailing

    Without a name, list the alerts that have one: all of them.
    """
    from .find import MissingFileError, read

    try:
        pages = {name.removesuffix(".md"): text for name, text in read("alerts/runbooks/*.md").items()}
    except MissingFileError as error:
        raise click.ClickException(str(error)) from error
    if alert is None:
        click.echo("\n".join(pages))
    elif alert in pages:
        click.echo(pages[alert], nl=False)
    else:
        meant = _meant(alert, list(pages))
        raise click.UsageError(
            f"{alert!r} is no alert of ours; did you mean {meant}?" if meant
            else f"{alert!r} is no alert of ours; there are {', '.join(pages)}"
        )


def _meant(alert: str, known: Sequence[str]) -> str:
    """The alert that this name was most likely meant for, also without our prefix; "" if none is like it."""
    from difflib import get_close_matches

    spelt = {name.lower(): name for name in known} | {name.lower().removeprefix("streamvitals"): name for name in known}
    close = get_close_matches("".join(filter(str.isalnum, alert.lower()))[:100], spelt, 1, 0.7)
    return spelt[close[0]] if close else ""


def _pairs(option: str, given: Sequence[str], allowed: str) -> tuple[tuple[str, str], ...]:
    """Parse what is given as NAME=VALUE. A bad one ends the command with 2."""
    for pair in given:
        if "=" not in pair:
            raise click.UsageError(f"{option} {pair!r} is not allowed: {allowed}")
    return tuple((name.strip(), value.strip()) for name, _, value in (pair.partition("=") for pair in given))


def _warn_of_no_links(**addresses: str) -> None:
    """Warn of links that are not written because nobody said where they lead."""
    if missing := [option for option, address in addresses.items() if not address]:
        click.echo(
            f"without {' and '.join(missing)} no link there is written; `streamvitals runbook ALERT` prints a runbook",
            err=True,
        )


def _objectives(durations: Mapping[str, str], **others: Any) -> Objectives:
    """The objectives of the options that are given; the others keep their default. Raises ObjectiveError."""
    from ..alerts.objectives import Objectives, seconds

    given = {name.replace("-", "_"): seconds(text, name) for name, text in durations.items()} | others
    return Objectives(**{name: value for name, value in given.items() if value is not None})


def _conditions(given: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Conditions on labels as they are given on a command line. The objectives say which are allowed."""
    parts = (text.partition("!=" if "!=" in text.split("=", 1)[0] + "=" else "=") for text in given)
    return tuple((label, operator or "=", value) for label, operator, value in parts)


def _left_out(metrics: str) -> frozenset[str]:
    """The metrics that are not shown, by the option or else by the variable. A bad value ends the command with 2."""
    config = checked_config(os.environ)
    try:
        return left_out(metrics, "--metrics") if metrics else config.left_out
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _warn_of_undeclared(by: Sequence[str]) -> None:
    """Warn of labels that STREAMVITALS_LABELS, where it is set here, does not declare: it need not be the app's."""
    declared = [label.name for label in checked_config(os.environ).labels]
    for label in by if declared else ():
        if label not in declared:
            click.echo(
                f"--by {label}: STREAMVITALS_LABELS here declares {', '.join(declared)} only; where the application"
                f" has no label {label}, what is written by it stays empty", err=True,
            )


def checked_config(env: Mapping[str, str]) -> Config:
    """Read the configuration for a command that starts no app: a bad value of a variable ends it with 2."""
    try:
        return Config.from_env(env)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _only(allowed: bool, where: str, options: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing: an error is better than to ignore them."""
    for name, given in options.items():
        if given and not allowed:
            raise click.UsageError(f"{name} goes with {where} only")


def _write(files: Mapping[str, str], output: str | None, force: bool) -> None:
    """Write the files below ``output``, or print them."""
    from .write import WriteError, write

    if output is None:
        click.echo("".join(files.values()), nl=False)
        return
    try:
        for path in write(files, output, force=force):
            click.echo(path)
    except WriteError as error:
        raise click.ClickException(str(error)) from error
