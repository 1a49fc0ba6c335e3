"""The files that go with the rules: examples for Alertmanager and of what streams cost, a template, the runbooks."""

from __future__ import annotations

from ..alerts.objectives import Objectives
from .find import read

ALERTMANAGER, TEMPLATE, COST = "alertmanager.example.yaml", "streamvitals.tmpl", "cost.example.yaml"


def examples(objectives: Objectives) -> dict[str, str]:
    """Return the texts by path, for services that the labels ``objectives.service`` tell apart.

    Raises MissingFileError.
    """
    files = read(f"alerts/{ALERTMANAGER}") | read(f"alerts/{TEMPLATE}") | read(f"alerts/{COST}")
    by = ", ".join(objectives.service)
    files[ALERTMANAGER] = files[ALERTMANAGER].replace("[job]", f"[{by}]").replace("[job, ", f"[{by}, ")
    called = " ".join(f"{{{{ .CommonLabels.{label} }}}}" for label in objectives.service)
    files[COST] = files[COST].replace("by (job, ", f"by ({by}, ")
    files[TEMPLATE] = files[TEMPLATE].replace("{{ .CommonLabels.job }}", called)
    return files | {f"runbooks/{name}": text for name, text in read("alerts/runbooks/*.md").items()}
