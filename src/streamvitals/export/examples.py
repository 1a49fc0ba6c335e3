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
    return files | {f"runbooks/{name}": text for name, text in read("alerts/runbooks/*.md").items()}
