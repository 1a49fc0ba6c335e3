"""What belongs beside the rules: an example for Alertmanager, its texts, and the runbooks."""

from __future__ import annotations

from ..alerts.objectives import Objectives
from .find import read

ALERTMANAGER, TEMPLATE = "alertmanager.example.yaml", "streamvitals.tmpl"


def examples(objectives: Objectives) -> dict[str, str]:
    """The texts by their path, for services that are told apart by ``objectives.service``.

    Raises MissingFileError.
    """
    files = read(f"alerts/{ALERTMANAGER}") | read(f"alerts/{TEMPLATE}")
    by = ", ".join(objectives.service)
    files[ALERTMANAGER] = files[ALERTMANAGER].replace("[job]", f"[{by}]").replace("[job, ", f"[{by}, ")
    called = " ".join(f"{{{{ .CommonLabels.{label} }}}}" for label in objectives.service)
    files[TEMPLATE] = files[TEMPLATE].replace("{{ .CommonLabels.job }}", called)
    return files | {f"runbooks/{name}": text for name, text in read("alerts/runbooks/*.md").items()}
