"""Panels: one function for each kind, with what all of them have.

Every panel has a title, a description that says what it means and which metrics it reads, a unit, and a word for when
nothing streams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    DashboardLink,
    FieldColor,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from streamvitals.names import Metric

from .promql import quantile

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
IDLE = "no traffic"
GREEN, AMBER, RED, GREY = "green", "orange", "red", "#8e8e8e"
QUANTILE_COLORS = {"p50": "super-light-blue", "p95": "blue", "p99": "dark-purple"}


@dataclass(frozen=True)
class Query:
    """A query, and the name of its series in the legend: text with `{{label}}` in it."""

    expr: str
    name: str = ""
    exemplars: bool = False


P = TypeVar("P", bound=Any)


def _common(panel: P, title: str, description: str, unit: str, idle: str, links: Sequence[DashboardLink]) -> P:
    panel.title(title).description(description).datasource(PROMETHEUS).no_value(idle).unit(unit)
    if links:
        panel.data_links(list(links))
    return panel


def _target(query: Query, number: int) -> Dataquery:
    target = Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(PROMETHEUS)
    return target.legend_format(query.name) if query.name else target.legend_format("__auto")


def steps(*edges: tuple[float, str], base: str = GREEN) -> ThresholdsConfig:
    """Make thresholds: ``base`` until the first edge."""
    first = Threshold(value=None, color=base)
    rest = [Threshold(value=value, color=color) for value, color in edges]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([first, *rest])


def number(
    title: str, query: str, description: str, *, unit: str, thresholds: ThresholdsConfig | None = None,
    idle: str = IDLE, idle_color: str = "transparent", decimals: int | None = None, sparkline: bool = True,
    links: Sequence[DashboardLink] = (),
) -> stat.Panel:
    """Draw one value, the last, coloured by its thresholds, over its own past.

    A series that has ended would show its last value for as long as it is in the picture: NaN says that there is none
    now, and a mapping says so in words.
    """
    panel = _common(stat.Panel(), title, description, unit, idle, links)
    panel.with_target(_target(Query(f"{query} or vector(NaN)", title), 0).range())
    panel.graph_mode(common.BigValueGraphMode.AREA if sparkline else common.BigValueGraphMode.NONE)
    panel.color_mode(common.BigValueColorMode.BACKGROUND if thresholds else common.BigValueColorMode.NONE)
    panel.reduce_options(build.ReduceDataOptions().calcs(["last"]).values(False))
    panel.thresholds(thresholds or steps(base="text"))
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    panel.mappings([SpecialValueMap(DashboardSpecialValueMapOptions(
        SpecialValueMatch.NULL_AND_NAN, ValueMappingResult(idle, idle_color, index=0)
    ))])
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def lines(
    title: str, queries: Sequence[Query], description: str, *, unit: str, thresholds: ThresholdsConfig | None = None,
    idle: str = IDLE, most: float | None = None, soft_most: float | None = None, stacked: bool = False,
    percent: bool = False, bars: bool = False, fill: int | None = None, log: bool = False, legend: str = "right",
    links: Sequence[DashboardLink] = (), calcs: Sequence[str] = ("lastNotNull", "max"), shades: str = "",
) -> timeseries.Panel:
    """Draw values over time.

    Thresholds are lines; gaps stay gaps. A name has its colour wherever it appears, or all have ``shades`` of one.
    """
    panel = _common(timeseries.Panel(), title, description, unit, idle, links)
    for position, query in enumerate(queries):
        panel.with_target(_target(query, position).range().exemplar(query.exemplars))
    panel.min(0).line_width(0 if bars else 2 if not stacked else 1)
    panel.fill_opacity(fill if fill is not None else 90 if bars else 70 if stacked else 8)
    panel.draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
    panel.line_interpolation(common.LineInterpolation.LINEAR).show_points(common.VisibilityMode.AUTO).point_size(4)
    # A restart of a scrape is no hole in the service; two lost ones are.
    panel.span_nulls(False).axis_soft_min(0)
    if stacked:
        mode = common.StackingMode.PERCENT if percent else common.StackingMode.NORMAL
        panel.stacking(build.StackingConfig().mode(mode).group("A"))
    if thresholds is not None:
        panel.thresholds(thresholds)
        panel.thresholds_style(build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    color = FieldColor().mode(FieldColorModeId.SHADES if shades else FieldColorModeId.PALETTE_CLASSIC_BY_NAME)
    panel.color_scheme(color.fixed_color(shades) if shades else color)
    if most is not None:
        panel.max(most)
    if soft_most is not None:
        panel.axis_soft_max(soft_most)
    if log:
        panel.scale_distribution(build.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))
    panel.tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    shown = build.VizLegendOptions().show_legend(True).calcs(list(calcs) if legend == "right" else [])
    if legend == "right":
        shown.display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.RIGHT)
    else:
        shown.display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM)
    return panel.legend(shown)


def spread(
    title: str, metric: Metric, description: str, *, unit: str, thresholds: ThresholdsConfig | None = None,
    exemplars: bool = False, idle: str = IDLE, links: Sequence[DashboardLink] = (),
) -> timeseries.Panel:
    """Draw the median and the tail of a histogram."""
    queries = [
        Query(quantile(q, metric), name, exemplars=exemplars and name == "p95")
        for q, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
    ]
    panel = lines(
        title, queries, description, unit=unit, thresholds=thresholds, idle=idle, legend="bottom", links=links
    )
    return colored(panel, QUANTILE_COLORS)


def dashed(panel: timeseries.Panel, name: str, color: str = RED) -> timeseries.Panel:
    """Draw one of the lines as a limit."""
    style = {"fill": "dash", "dash": [8, 8]}
    return panel.override_by_name(name, [
        DynamicConfigValue("custom.lineStyle", style), DynamicConfigValue("custom.fillOpacity", 0),
        DynamicConfigValue("custom.lineWidth", 1), DynamicConfigValue("color", fixed(color)),
        DynamicConfigValue("custom.showPoints", "never"),
    ])


def fixed(color: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": color}


def colored(panel: P, colors: dict[str, str]) -> P:
    """Give series of these names their colours."""
    for name, color in colors.items():
        panel.override_by_name(name, [DynamicConfigValue("color", fixed(color))])
    return panel


def heat(
    title: str, query: str, description: str, *, unit: str = "s", exemplars: bool = False,
    links: Sequence[DashboardLink] = (),
) -> heatmap.Panel:
    """Draw how values spread over a histogram's buckets over time: the more, the warmer."""
    panel = _common(heatmap.Panel(), title, description, unit, IDLE, links)
    target = _target(Query(query, "{{le}}"), 0).range().format(PromQueryFormat.HEATMAP).exemplar(exemplars)
    panel.with_target(target).calculate(False).cell_gap(0).hide_legend()
    panel.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(common.AxisPlacement.LEFT))
    panel.color(
        heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Viridis").exponent(0.5).steps(64)
        .reverse(False)
    )
    panel.filter_values(heatmap.FilterValueRange().le(1e-9))
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.AUTO))
    return panel.mode(common.TooltipDisplayMode.SINGLE).show_y_histogram().show_color_scale(True)


def states(
    title: str, queries: Sequence[Query], description: str, *, unit: str, thresholds: ThresholdsConfig,
    idle: str = IDLE, links: Sequence[DashboardLink] = (),
) -> statetimeline.Panel:
    """Draw one band for each series, coloured by its value: since when, and until when."""
    panel = _common(statetimeline.Panel(), title, description, unit, idle, links)
    for position, query in enumerate(queries):
        panel.with_target(_target(query, position).range())
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS)).thresholds(thresholds)
    panel.merge_values(True).row_height(0.85).fill_opacity(85).line_width(0)
    panel.show_value(common.VisibilityMode.NEVER)
    panel.legend(build.VizLegendOptions().show_legend(False).display_mode(common.LegendDisplayMode.LIST)
                 .placement(common.LegendPlacement.BOTTOM).calcs([]))
    return panel.tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE).sort(common.SortOrder.NONE))


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
    panel = _common(table.Panel(), title, description, "short", idle, ())
    for position, query in enumerate(queries):
        panel.with_target(_target(query, position).instant().format(PromQueryFormat.TABLE))
    names = {column.field: column.name for column in columns}
    order = {column.field: position for position, column in enumerate(columns)}
    excluded = dict.fromkeys(("Time", *hidden), True)
    if len(queries) > 1:
        panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(DataTransformerConfig(
        id_val="organize", options={"excludeByName": excluded, "indexByName": order, "renameByName": names},
    ))
    for column in columns:
        panel.override_by_name(column.name, list(_look(column)))
    if sort:
        panel.sort_by([build.TableSortByFieldState().display_name(sort.lstrip("+")).desc(not sort.startswith("+"))])
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
