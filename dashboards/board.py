"""The frame that all dashboards share: identity, variables, annotations, links and the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    ConstantVariable,
    CustomVariable,
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    GridPos,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from streamvitals import names
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.promql import RESULT, equals
from streamvitals.export.dashboards import BUDGET, budget_text

from . import links
from .panels import PROMETHEUS
from .promql import INSTANCE, JOB, MODEL, OPERATION, PROVIDER, SERVER, metrics_in, series

WIDTH = 24
# (width, panel), … from left to right, and their height; or the title of a row.
Shelf = tuple[int, Sequence[tuple[int, Any]]] | str
COMPARE = "compare"
RESTART = "4m"
PAGES, TICKETS, STARTS = "Pages", "Tickets", "Starts and deployments"
TITLES = {PAGES: "{{alertname}}", TICKETS: "{{alertname}}", STARTS: "{{instance}} started"}


def _choice(variable: str, label: str, shown: str, chosen: Sequence[str]) -> QueryVariable:
    """Make a variable of a label's values, within what the variables before it allow."""
    # The one metric that every process has from its start, stream or none.
    source = names.INTERNAL_ERRORS if label in (JOB, INSTANCE) else names.STREAMS
    metric = source.prometheus + "_total"
    within = ",".join(f'{other}=~"${name}"' for name, other in zip(("job", "instance"), (JOB, INSTANCE), strict=True)
                      if name in chosen)
    return (
        QueryVariable(variable).label(shown).datasource(PROMETHEUS)
        .query({"query": f"label_values({metric}{'{' + within + '}' if within else ''}, {label})", "refId": variable})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True).include_all(True).all_value(".*").current(VariableOption(text=["All"], value=["$__all"]))
    )


def board(title: str, uid: str, description: str, shelves: Sequence[Shelf], *, compare: bool = False) -> Dashboard:
    """Make a dashboard of ``shelves``, whose panels' widths must add up to the grid's."""
    made = (
        Dashboard(title).uid(uid).description(description).tags([links.TAG, "llm", "openai"])
        .timezone("browser").time("now-1h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR)
        .editable().link(links.dashboards())
    )
    for variable in _variables(compare):
        made.with_variable(variable)
    for annotation in _annotations():
        made.annotation(annotation)
    _arrange(made, shelves)
    return made


def _variables(compare: bool) -> list[Any]:
    data = DatasourceVariable("datasource").label("Data source").type("prometheus")
    tempo = DatasourceVariable("tempo").label("Traces").type("tempo").hide(VariableHide.HIDE_VARIABLE)
    choices = [
        _choice("job", JOB, "Job", ()),
        _choice("instance", INSTANCE, "Instance", ("job",)),
        _choice("provider", PROVIDER, "Provider", ("job", "instance")),
        _choice("model", MODEL, "Model", ("job", "instance")),
        _choice("operation", OPERATION, "Operation", ("job", "instance")),
        _choice("server", SERVER, "Server", ("job", "instance")),
    ]
    first = VariableOption(text="1h", value="1h")
    before = CustomVariable(COMPARE).label("Compare with").values("1h,6h,1d,7d").current(first)
    budget = ConstantVariable(BUDGET).value(budget_text(Objectives()))
    return [data, *choices, *([before] if compare else []), tempo, budget]


def _annotations() -> list[AnnotationQuery]:
    """Make the annotations: alerts of ours, starts and deployments."""
    firing = 'alertstate="firing",alertname=~"Streamvitals.+",job=~"$job"'
    build = series(names.BUILD_INFO)
    # A lost scrape is no start, another version is one.
    by = "job, instance, version, openai_version"
    new = f"group by ({by}) ({build}) unless group by ({by}) (last_over_time({build}[10m] offset $__interval))"
    counters = series(names.STREAMS, equals(RESULT, "completed"))
    # An annotation has no least step of its own: a window that two scrapes fall into, and of it the first moment.
    resets, before = (
        f"sum by (job, instance) (resets({counters}[{RESTART}]{at})) > 0" for at in ("", " offset $__interval")
    )
    restarted = f"{resets} unless {before}"
    kinds = (
        (PAGES, f'ALERTS{{{firing},kind="symptom"}}', "red", True),
        (TICKETS, f'ALERTS{{{firing},kind=~"cause|state|telemetry"}}', "orange", False),
        (STARTS, f"({new}) or ({restarted})", "blue", True),
    )
    return [
        AnnotationQuery().name(name).datasource(PROMETHEUS).enable(enabled).icon_color(color).expr(expr)
        for name, expr, color, enabled in kinds
    ]


def finish(model: dict[str, Any]) -> dict[str, Any]:
    """Add what the SDK cannot express, and to each description which metrics the panel reads."""
    for annotation in model["annotations"]["list"]:
        annotation["titleFormat"] = TITLES[annotation["name"]]
        # A minute, which Grafana takes by itself, is longer than many a burst.
        annotation["step"] = "15s"
    for variable in model["templating"]["list"]:
        if variable["type"] == "constant":
            variable["hide"] = VariableHide.HIDE_VARIABLE.value
    for panel in model["panels"]:
        metrics = sorted({name for target in panel.get("targets", ()) for name in metrics_in(target.get("expr", ""))})
        if metrics:
            panel["description"] += "\n\nReads " + ", ".join(metrics) + "."
    return model


def _arrange(made: Dashboard, shelves: Sequence[Shelf]) -> None:
    y, identity = 0, 0
    for shelf in shelves:
        identity += 1
        if isinstance(shelf, str):
            made.with_row(Row(shelf).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=y)).id(identity))
            y += 1
            continue
        height, panels = shelf
        if sum(width for width, _ in panels) != WIDTH:
            raise ValueError(f"the widths of {[p.build().title for _, p in panels]} do not add up to {WIDTH}")
        x = 0
        for width, panel in panels:
            identity += 1
            made.with_panel(panel.grid_pos(GridPos(h=height, w=width, x=x, y=y)).id(identity))
            x += width
        y += height
