"""The files that go with the rules: an example for Alertmanager, its template, and the runbooks."""

from __future__ import annotations

from ..alerts.objectives import Objectives
from .find import read

ALERTMANAGER, TEMPLATE = "alertmanager.example.yaml", "streamvitals.tmpl"


def examples(objectives: Objectives) -> dict[str, str]:
    """Return the texts by path, for services that the labels ``objectives.service`` tell apart.

    Raises MissingFileError.
    """
    files = read(f"alerts/{ALERTMANAGER}") | read(f"alerts/{TEMPLATE}")
    by = ", ".join(objectives.service)
    files[ALERTMANAGER] = files[ALERTMANAGER].replace("[job]", f"[{by}]").replace("[job, ", f"[{by}, ")
    called = " ".join(f"{{{{ .CommonLabels.{label} }}}}" for label in objectives.service)
    files[TEMPLATE] = files[TEMPLATE].replace("{{ .CommonLabels.job }}", called)
    return files | {f"runbooks/{name}": text for name, text in read("alerts/runbooks/*.md").items()}
