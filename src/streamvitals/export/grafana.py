"""The dashboards in the forms that Grafana loads: a provisioning folder, or ConfigMaps for the sidecar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .kubernetes import Metadata, config_map
from .yaml_text import to_yaml

# https://grafana.com/docs/grafana/latest/administration/provisioning/
PROVISIONING = "/etc/grafana/provisioning"
FOLDER = "streamvitals"
# What the sidecar of Grafana's Helm charts looks for: https://github.com/grafana/helm-charts, chart grafana.
SIDECAR_LABEL = "grafana_dashboard=1"
FOLDER_ANNOTATION = "grafana_folder"
CONFIG_MAPS = "streamvitals-dashboards.yaml"
PROMETHEUS, TEMPO = "streamvitals-prometheus", "streamvitals-tempo"
# The usual one, which the alerts take as well.
SCRAPE_INTERVAL = "30s"
_URL = re.compile(r"https?://[^\s\"'{}\\$]+")
_MADE = "# Made by `streamvitals dashboards`.\n"


class SourceError(ValueError):
    """An address of a data source is not valid; the text names it and says what is allowed."""


@dataclass(frozen=True)
class Sources:
    """The addresses of Prometheus and Tempo for Grafana; "" where it knows them already. Raises SourceError."""

    prometheus_url: str = ""
    tempo_url: str = ""
    # How often Prometheus scrapes, as a duration of its own: what $__rate_interval is made of.
    scrape_interval: str = SCRAPE_INTERVAL

    def __post_init__(self) -> None:
        for name, url in (("prometheus-url", self.prometheus_url), ("tempo-url", self.tempo_url)):
            if url and not _URL.fullmatch(url):
                raise SourceError(f"{name} {url!r} is not allowed: an http or https address without blanks, quotes, $")

    def listed(self) -> list[dict[str, Any]]:
        """List them as data sources.

        None is the default one: there may be one already, and Grafana ends if there are two.
        """
        found: list[dict[str, Any]] = []
        if self.prometheus_url:
            more: dict[str, Any] = {"httpMethod": "POST", "timeInterval": self.scrape_interval}
            if self.tempo_url:
                more["exemplarTraceIdDestinations"] = [{"name": "trace_id", "datasourceUid": TEMPO}]
            found.append(_source(PROMETHEUS, "prometheus", self.prometheus_url) | {"jsonData": more})
        if self.tempo_url:
            found.append(_source(TEMPO, "tempo", self.tempo_url))
        return found


def _source(name: str, kind: str, url: str) -> dict[str, Any]:
    return {"name": name, "uid": name, "type": kind, "access": "proxy", "url": url, "isDefault": False}


def provisioning(dashboards: Mapping[str, str], sources: Sources, folder: str = FOLDER) -> dict[str, str]:
    """Return the files below Grafana's provisioning folder, by their path."""
    provider = {
        "name": "streamvitals",
        "folder": folder,
        "type": "file",
        # What is saved in the browser would be lost with the next version of the files: Grafana says so instead.
        "allowUiUpdates": False,
        "options": {"path": f"{PROVISIONING}/dashboards/streamvitals"},
    }
    where = f"# This folder's own is {PROVISIONING} here: change `path` below if yours is another.\n"
    files = {"dashboards/streamvitals.yaml": _MADE + where + to_yaml({"apiVersion": 1, "providers": [provider]})}
    files |= {f"dashboards/streamvitals/{name}": text for name, text in dashboards.items()}
    if listed := sources.listed():
        files["datasources/streamvitals.yaml"] = _MADE + to_yaml({"apiVersion": 1, "datasources": listed})
    return files


def config_maps(dashboards: Mapping[str, str], metadata: Metadata) -> str:
    """Return one file with a ConfigMap for each dashboard. Raises ManifestError."""
    objects = (
        config_map(f"streamvitals-{name.removesuffix('.json')}", {name: text}, metadata)
        for name, text in dashboards.items()
    )
    return _MADE + "---\n".join(map(to_yaml, objects))
