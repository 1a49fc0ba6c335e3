"""The files that go with the rules: examples for Alertmanager and of costs, a template, the runbooks."""

from __future__ import annotations

import re

from ..alerts.objectives import Objectives
from .find import read

ALERTMANAGER, RECEIVERS = "alertmanager.example.yaml", "receivers.example.yaml"
TEMPLATE, COST = "streamvitals.tmpl", "cost.example.yaml"
_SEVERITY = re.compile(r"\[severity = (\w+)\]")


def examples(objectives: Objectives) -> dict[str, str]:
    """Return the texts by path, for services that the labels ``objectives.service`` tell apart.

    Raises MissingFileError.
    """
    files: dict[str, str] = {}
    for name in (ALERTMANAGER, RECEIVERS, TEMPLATE, COST):
        files |= read(f"alerts/{name}")
    by = ", ".join(objectives.service)
    for name in (ALERTMANAGER, RECEIVERS):
        text = files[name].replace("[job]", f"[{by}]").replace("[job, ", f"[{by}, ")
        files[name] = _SEVERITY.sub(lambda found: f"[severity = {objectives.severity(found[1])}]", text)
    called = " ".join(f"{{{{ .CommonLabels.{label} }}}}" for label in objectives.service)
    files[COST] = files[COST].replace("by (job, ", f"by ({by}, ")
    files[TEMPLATE] = files[TEMPLATE].replace("{{ .CommonLabels.job }}", called)
    return files | {f"runbooks/{name}": text for name, text in read("alerts/runbooks/*.md").items()}
