"""Panels: one function for each kind, with what all of them have.

Every panel has a title, a description that says what it means and which metrics it reads, a unit, and a word for when
nothing streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import heatmap, stat, statetimeline, text, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    DashboardLink,
    FieldColor,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardRangeMapOptions,
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    RangeMap,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from streamvitals.export.dashboards import LEAST_STEP
from streamvitals.names import Metric
from streamvitals.palette import OUTCOME_COLORS

from .promql import quantile

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
IDLE = "no traffic"
# Of native histograms, into which some Prometheus servers convert all, no PromQL has the sum that all servers know.
NO_SUMS = "none, or native histograms only"
# Those of outcomes, so that everybody can tell them apart.
GREEN, AMBER, RED = (OUTCOME_COLORS[outcome] for outcome in ("completed", "truncated", "reset"))
GREY = "#8e8e8e"
SAVED_COLORS = {
    "saved by the app": GREEN, "saved by the sdk": OUTCOME_COLORS["abandoned"],
    "asked again without streaming": OUTCOME_COLORS["length"], "failed for the user": RED,
}
# What the legend calls them.
CALCS = {"min": "Min", "max": "Max", "mean": "Mean", "lastNotNull": "Last *"}
QUANTILE_COLORS = {"p50": "super-light-blue", "p95": "blue", "p99": "dark-purple"}
# Units that Grafana has no name for.
STREAMS, STREAMS_PER_SECOND = "suffix:streams", "suffix:streams/s"
CHUNKS, CHUNKS_PER_SECOND = "suffix:chunks", "suffix:chunks/s"
TOKENS_PER_SECOND, STALLS, OPERATIONS_PER_SECOND = "suffix:tokens/s", "suffix:stalls", "suffix:operations/s"
RETRIES_PER_SECOND, REQUESTS_PER_SECOND = "suffix:retries/s", "suffix:requests/s"
CALLS, CALLS_PER_SECOND = "suffix:calls", "suffix:calls/s"


@dataclass(frozen=True)
class Query:
    """A query, and the name of its series in the legend: text with `{{label}}` in it."""

    expr: str
    name: str = ""
    exemplars: bool = False


P = TypeVar("P", bound=Any)


def common_to_all(panel: P, title: str, description: str, unit: str, idle: str, links: Sequence[DashboardLink]) -> P:
    panel.title(title).description(description).datasource(PROMETHEUS).no_value(idle).unit(unit)
    if links:
        panel.data_links(list(links))
    return panel


def target(query: Query, number: int) -> Dataquery:
    """Make a query of the range that is shown, or, with ``.instant()``, of its end."""
    made = Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(PROMETHEUS)
    return made.legend_format(query.name or "__auto").interval(LEAST_STEP)


def steps(*edges: tuple[float, str], base: str = GREEN) -> ThresholdsConfig:
    """Make thresholds: ``base`` until the first edge."""
    first = Threshold(value=None, color=base)
    rest = [Threshold(value=value, color=color) for value, color in edges]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([first, *rest])


def number(
    title: str, query: str | Sequence[Query], description: str, *, unit: str,
    thresholds: ThresholdsConfig | None = None, idle: str = IDLE, decimals: int | None = None,
    words: dict[str, str] | None = None, negative: str = "", links: Sequence[DashboardLink] = (),
) -> stat.Panel:
    """Draw the value at the end of the time shown, coloured by its thresholds; several, each with its name.

    It is asked for that moment alone: of a range the last value would be shown that a series ever had. ``words``
    stand for values, and ``negative`` for all below zero.
    """
    queries = [Query(query)] if isinstance(query, str) else query
    panel = common_to_all(stat.Panel(), title, description, unit, idle, links)
    for position, one in enumerate(queries):
        panel.with_target(target(one, position).instant())
    panel.graph_mode(common.BigValueGraphMode.NONE)
    panel.color_mode(common.BigValueColorMode.BACKGROUND if thresholds else common.BigValueColorMode.NONE)
    panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else common.BigValueTextMode.VALUE)
    panel.reduce_options(build.ReduceDataOptions().calcs(["last"]).values(False))
    panel.thresholds(thresholds or steps(base="text"))
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    if words:
        panel.mappings([ValueMap({
            value: ValueMappingResult(text=word, index=position) for position, (value, word) in enumerate(words.items())
        })])
    if negative:
        panel.mappings([RangeMap(DashboardRangeMapOptions(
            from_val=None, to=0.0, result=ValueMappingResult(text=negative, color=RED, index=0)
        ))])
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def note(title: str, content: str, description: str) -> text.Panel:
    """Write something, in Markdown."""
    return text.Panel().title(title).description(description).mode(TextMode.MARKDOWN).content(content)


def lines(
    title: str, queries: Sequence[Query], description: str, *, unit: str, thresholds: ThresholdsConfig | None = None,
    idle: str = IDLE, most: float | None = None, soft_most: float | None = None, stacked: bool = False,
    bars: bool = False, fill: int | None = None, few: bool = False,
    links: Sequence[DashboardLink] = (), calc: str = "max", shades: str = "",
) -> timeseries.Panel:
    """Draw values over time.

    Thresholds are lines; gaps stay gaps. A name has its colour wherever it appears, or all have ``shades`` of one. The
    legend is a table, the most remarkable first, or where there are always the same ``few`` series one line.
    """
    panel = common_to_all(timeseries.Panel(), title, description, unit, idle, links)
    for position, query in enumerate(queries):
        panel.with_target(target(query, position).range().exemplar(query.exemplars))
    panel.min(0).line_width(0 if bars else 2 if not stacked else 1)
    panel.fill_opacity(fill if fill is not None else 90 if bars else 70 if stacked else 8)
    panel.draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
    panel.line_interpolation(common.LineInterpolation.LINEAR).show_points(common.VisibilityMode.AUTO).point_size(4)
    # A restart of a scrape is no hole in the service; two lost ones are.
    panel.span_nulls(False).axis_soft_min(0)
    if stacked:
        panel.stacking(build.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if thresholds is not None:
        panel.thresholds(thresholds)
        panel.thresholds_style(build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    color = FieldColor().mode(FieldColorModeId.SHADES if shades else FieldColorModeId.PALETTE_CLASSIC_BY_NAME)
    panel.color_scheme(color.fixed_color(shades) if shades else color)
    if most is not None:
        panel.max(most)
    if soft_most is not None:
        panel.axis_soft_max(soft_most)
    panel.tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    shown = build.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM).calcs([calc])
    if few:
        return panel.legend(shown.display_mode(common.LegendDisplayMode.LIST))
    shown.display_mode(common.LegendDisplayMode.TABLE).sort_by(CALCS[calc]).sort_desc(calc != "min")
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
        title, queries, description, unit=unit, thresholds=thresholds, idle=idle, few=True, links=links
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
    title: str, query: str, description: str, *, of: str = STREAMS, exemplars: bool = False,
    links: Sequence[DashboardLink] = (),
) -> heatmap.Panel:
    """Draw how seconds spread over a histogram's buckets over time: the more, the warmer. ``of`` is what is counted."""
    panel = common_to_all(heatmap.Panel(), title, description, of, IDLE, links)
    made = target(Query(query, "{{le}}"), 0).range().format(PromQueryFormat.HEATMAP).exemplar(exemplars)
    panel.with_target(made).calculate(False).cell_gap(0).show_legend()
    # One unit for the whole axis: among "500 ms" and "1.33 mins" nobody sees what is ten times what. Without a name of
    # a unit the rows are called what Prometheus calls them.
    panel.y_axis(heatmap.YAxisConfig().axis_label("seconds").axis_placement(common.AxisPlacement.LEFT))
    panel.color(
        heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Viridis").exponent(0.5).steps(64)
        .reverse(False)
    )
    panel.cell_values(heatmap.CellValues().unit(of).decimals(0)).filter_values(heatmap.FilterValueRange().le(1e-9))
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.AUTO))
    return panel.mode(common.TooltipDisplayMode.SINGLE).show_y_histogram().show_color_scale(True)


def states(
    title: str, queries: Sequence[Query], description: str, *, unit: str, thresholds: ThresholdsConfig,
    idle: str = IDLE, links: Sequence[DashboardLink] = (),
) -> statetimeline.Panel:
    """Draw one band for each series, coloured by its value: since when, and until when."""
    panel = common_to_all(statetimeline.Panel(), title, description, unit, idle, links)
    for position, query in enumerate(queries):
        panel.with_target(target(query, position).range())
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS)).thresholds(thresholds)
    panel.merge_values(True).row_height(0.85).fill_opacity(85).line_width(0)
    panel.show_value(common.VisibilityMode.NEVER)
    panel.legend(build.VizLegendOptions().show_legend(False).display_mode(common.LegendDisplayMode.LIST)
                 .placement(common.LegendPlacement.BOTTOM).calcs([]))
    return panel.tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE).sort(common.SortOrder.NONE))
