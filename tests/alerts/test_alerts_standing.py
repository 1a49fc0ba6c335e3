"""What a rule selects stands at 0 from a label set's first stream on: `increase` does not see a series' first value."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from store_support import LABELS
from streamvitals import names
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.promql import SUFFIXES
from streamvitals.alerts.ruleset import every_rule
from streamvitals.names import Metric
from streamvitals.sinks.exposition import Exposition
from streamvitals.store.memory import HeapMemory
from streamvitals.store.store import Store

_SELECTOR = re.compile(r"\b(streamvitals_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|=)\s*"([^"]*)"')
_METRICS = {m.prometheus + suffix: m for m in names.ALL_METRICS for suffix in SUFFIXES[m.kind]}
# Computed for every label set and process, or what a provider says: no count begins with them.
_GAUGES = {m.prometheus for m in names.ALL_METRICS if m.kind == "gauge"}

Matchers = tuple[tuple[str, str, str], ...]
Selector = tuple[str, Matchers]


def selectors() -> Iterator[tuple[str, Selector]]:
    """Every selector of every rule: in its expression, and in the queries of its texts."""
    for rule in every_rule(Objectives()):
        for text in (rule["expr"], *rule.get("annotations", {}).values()):
            for name, matchers in _SELECTOR.findall(text):
                found = tuple(sorted(m for m in _MATCHER.findall(matchers) if m[0] in names.OWN_LABELS))
                if name not in _METRICS:
                    continue  # a native histogram, as which Prometheus may have what it scraped
                yield rule.get("alert") or rule["record"], (name, found)


def matches(values: dict[str, str], matchers: Matchers) -> bool:
    for label, operator, text in matchers:
        found = values[label] in text.split("|") if operator == "=~" else values[label] == text
        if found == (operator == "!="):
            return False
    return True


def at_zero() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """The series that /metrics has while a label set's first stream and call run: names, and labels of their own."""
    store = Store(HeapMemory())
    store.open_slot(LABELS, 1.0)
    store.open_slot(LABELS._replace(operation=names.OF_CALLS + LABELS.operation), 1.0)
    text = Exposition().text(store.snapshot(1.0)).decode()
    return {
        (sample.name, tuple(sorted((k, v) for k, v in sample.labels.items() if k in names.OWN_LABELS)))
        for family in text_string_to_metric_families(text) for sample in family.samples
    }


EVERY = sorted({selector for _, selector in selectors()})


def test_rules_select_something_of_every_family_that_pages_go_by() -> None:
    read = {_METRICS[name].otel for _, (name, _) in selectors()}
    assert read > {m.otel for m in (names.STREAMS, names.STREAM_ERRORS, names.RETRIES, names.TIME_TO_FIRST_TOKEN)}


@pytest.mark.parametrize("selector", EVERY, ids=lambda s: s[0] + ",".join("".join(m) for m in s[1]))
def test_what_a_rule_selects_stands_at_0(selector: Selector) -> None:
    name, matchers = selector
    if name in _GAUGES:
        return
    metric: Metric = _METRICS[name]
    selected = [
        own for values in metric.values if matches(own := dict(zip(metric.labels, values, strict=True)), matchers)
    ]
    assert selected, "selects nothing that there can be"
    there = at_zero()
    missing = [own for own in selected if (name, tuple(sorted(own.items()))) not in there]
    assert not missing, f"{[rule for rule, used in selectors() if used == selector]} would not see their first count"
