"""The files that go with the rules: examples for Alertmanager and of costs, a template, the runbooks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..alerts.objectives import SERVICE, Objectives
from .find import read

ALERTMANAGER, RECEIVERS = "alertmanager.example.yaml", "receivers.example.yaml"
TEMPLATE, COST = "streamvitals.tmpl", "cost.example.yaml"
_SEVERITY = re.compile(r"\[severity = (\w+)\]")


def _called(service: Sequence[str]) -> str:
    """How the template calls a service: the values of those labels that there are."""
    *first, last = service
    return "".join(f"{{{{ with .CommonLabels.{label} }}}}{{{{ . }}}} {{{{ end }}}}" for label in first) + (
        f"{{{{ .CommonLabels.{last} }}}}"
    )


def examples(objectives: Objectives) -> dict[str, str]:
    """Return the texts by path, for services that the labels ``objectives.service`` tell apart.

    Raises MissingFileError.
    """
    files: dict[str, str] = {}
    for name in (ALERTMANAGER, RECEIVERS, TEMPLATE, COST):
        files |= read(f"alerts/{name}")
    ours, by = ", ".join(SERVICE), ", ".join(objectives.service)
    for name in (ALERTMANAGER, RECEIVERS):
        text = files[name].replace(f"[{ours}", f"[{by}")
        files[name] = _SEVERITY.sub(lambda found: f"[severity = {objectives.severity(found[1])}]", text)
    files[COST] = files[COST].replace(f"by ({ours}, ", f"by ({by}, ")
    files[TEMPLATE] = files[TEMPLATE].replace(_called(SERVICE), _called(objectives.service))
    runbooks = read("alerts/runbooks/*.md").items()
    return files | {f"runbooks/{name}": _for_services(text, objectives.service) for name, text in runbooks}


def _for_services(runbook: str, service: Sequence[str]) -> str:
    """A runbook whose lines to paste select a service by these labels; by its job alone where they are the default."""
    if tuple(service) == SERVICE:
        return runbook
    placed = {label: label.upper() for label in service}
    for alone, all_of_it in (
        ('job="JOB"', ", ".join(f'{label}="{value}"' for label, value in placed.items())),
        (" job=JOB", "".join(f" {label}={value}" for label, value in placed.items())),
        ("in place of `JOB`", f"in place of {', '.join(f'`{value}`' for value in placed.values())}"),
    ):
        runbook = runbook.replace(alone, all_of_it)
    return runbook
