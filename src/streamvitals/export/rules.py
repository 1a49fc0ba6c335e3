"""The rules as YAML: a file for Prometheus, Mimir or Thanos, a ConfigMap, or an object for an operator."""

from __future__ import annotations

import re
from typing import Any

from ..alerts.objectives import Objectives
from ..alerts.ruleset import rule_groups
from .kubernetes import Metadata, config_map
from .yaml_text import to_yaml

FILE = "streamvitals.rules.yaml"
# A name of Kubernetes has 253 characters at most; some labels that are made of it have 63.
MOST_OF_A_NAME = 50
FORMATS = ("prometheus", "kubernetes", "configmap", "mimir", "thanos", "victoriametrics")
# Of them, those that make an object for Kubernetes.
OBJECTS = ("kubernetes", "configmap", "victoriametrics")
_KINDS = {
    "kubernetes": ("monitoring.coreos.com/v1", "PrometheusRule"),
    "victoriametrics": ("operator.victoriametrics.com/v1beta1", "VMRule"),
}
_HEADER = (
    "# Made by `streamvitals alerts`: change the objectives there, not this file.\n"
    "# Every alert has a page in the runbooks; what pages is what users feel.\n"
)


def name_of(objectives: Objectives) -> str:
    """What rules for some services alone are called, so that those for others can be beside them."""
    parts = (("not-" if operator == "!=" else "") + value for _, operator, value in objectives.only)
    words = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    return "-".join(("streamvitals", *filter(None, words)))[:MOST_OF_A_NAME].rstrip("-")


def file_of(objectives: Objectives) -> str:
    """The file of these rules."""
    return f"{name_of(objectives)}.rules.yaml"


def render(
    objectives: Objectives, form: str = "prometheus", metadata: Metadata | None = None,
    content: dict[str, Any] | None = None,
) -> str:
    """The file, as text. ``form`` is one of FORMATS; ``metadata`` is for those of Kubernetes.

    ``content`` are the rules, if not all of these objectives."""
    content = content or rule_groups(objectives)
    metadata = metadata or Metadata()
    if form == "configmap":
        text = _HEADER + to_yaml(content)
        content = config_map(f"{name_of(objectives)}-rules", {file_of(objectives): text}, metadata)
    elif form in _KINDS:
        version, kind = _KINDS[form]
        content = {
            "apiVersion": version, "kind": kind, "metadata": metadata.named(name_of(objectives)), "spec": content,
        }
    elif form == "mimir":
        # What `mimirtool rules load` and `sync` read, and cortextool; the namespace is one of the ruler's.
        content = {"namespace": name_of(objectives), **content}
    elif form == "thanos":
        # Where a store is away nothing is alerted on: the rest of the data is no reason to say that streams stopped.
        content = {"groups": [{**group, "partial_response_strategy": "abort"} for group in content["groups"]]}
    return _HEADER + to_yaml(content)
