"""Tables: instant values joined by their labels into rows, and how each column looks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.tempo import TempoQuery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from .panels import IDLE, Query, common_to_all, target

# What Tempo's data source adds to the attributes of spans.
_OF_SPANS = ("traceIdHidden", "traceService", "traceName", "spanID", "name", "duration", "nested")
TEMPO = DataSourceRef(type_val="tempo", uid="${tempo}")


@dataclass(frozen=True)
class Column:
    """A column of a table: the field it shows, and its look. ``cell`` is a type of cell with its options."""

    field: str
    name: str
    unit: str = ""
    thresholds: ThresholdsConfig | None = None
    cell: dict[str, Any] | None = None
    width: int | None = None
    decimals: int | None = None
    least: float | None = None
    most: float | None = None
    colors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    links: Sequence[DashboardLink] = ()


COLOURED = {"type": "color-background", "mode": "basic"}
TEXT = {"type": "color-text"}
GAUGE = {"type": "gauge", "mode": "gradient", "valueDisplayMode": "text"}


def grid(
    title: str, queries: Sequence[Query], description: str, columns: Sequence[Column], *, sort: str = "",
    idle: str = IDLE, hidden: Sequence[str] = (),
) -> table.Panel:
    """Draw a table: instant values joined by their labels into rows.

    Each query's value is the field `Value #A`, `Value #B`, … ``sort`` is a column, from the largest down, or with a +
    before it from the smallest up.
    """
    panel = common_to_all(table.Panel(), title, description, "short", idle, ())
    for position, query in enumerate(queries):
        panel.with_target(target(query, position).instant().format(PromQueryFormat.TABLE))
    if len(queries) > 1:
        panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    if sort:
        panel.sort_by([build.TableSortByFieldState().display_name(sort.lstrip("+")).desc(not sort.startswith("+"))])
    return _arranged(panel, columns, ("Time", *hidden))


def _arranged(panel: table.Panel, columns: Sequence[Column], hidden: Sequence[str]) -> table.Panel:
    """Put the columns in their order, under their names, without those that nobody wants."""
    panel.with_transformation(DataTransformerConfig(id_val="organize", options={
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {column.field: position for position, column in enumerate(columns)},
        "renameByName": {column.field: column.name for column in columns},
    }))
    for column in columns:
        panel.override_by_name(column.name, list(_look(column)))
    return panel.show_header(True).cell_height(common.TableCellHeight.SM).align(common.FieldTextAlignment.AUTO)


def _look(column: Column) -> list[DynamicConfigValue]:
    looks: list[DynamicConfigValue] = []
    for identity, value in (
        ("unit", column.unit), ("custom.cellOptions", column.cell), ("custom.width", column.width),
        ("decimals", column.decimals), ("min", column.least), ("max", column.most),
        ("mappings", [ValueMap({
            value: ValueMappingResult(color=color, index=position)
            for position, (value, color) in enumerate(column.colors.items())
        })] if column.colors else None),
        ("thresholds", column.thresholds.build() if column.thresholds else None),
        ("links", [link.build() for link in column.links]),
    ):
        if value or value == 0:
            looks.append(DynamicConfigValue(identity, value))
    if column.thresholds:
        looks.append(DynamicConfigValue("color", {"mode": "thresholds"}))
    return looks


def spans(title: str, query: str, description: str, columns: Sequence[Column], *, idle: str) -> table.Panel:
    """Draw a table of the last spans that a TraceQL query selects, from the trace store, the newest first."""
    panel = common_to_all(table.Panel(), title, description, "short", idle, ()).datasource(TEMPO)
    found = TempoQuery().ref_id("A").query_type("traceql").query(query).limit(20).spss(20)
    panel.with_target(found.table_type(SearchTableType.SPANS).datasource(TEMPO))
    return _arranged(panel, columns, _OF_SPANS)
