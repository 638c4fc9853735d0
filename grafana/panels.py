"""Panels in the house's look: every one has a title, a description, a unit and its queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common as c
from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

# The same verdict, outcome or cause has the same colour on every panel.
COLOURS = {
    "accepted": "green",
    "rejected": "red",
    "invalid": "purple",
    "unscored": "blue",
    "withheld": "yellow",
    "failed": "dark-red",
    "cancelled": "light-blue",
    "interrupted": "orange",
    "unsubmitted": "super-light-yellow",
}


@dataclass(frozen=True)
class Query:
    """One query and what it is called in the legend; `unit` where it differs from the panel's."""

    expr: str
    legend: str
    unit: str = ""
    exemplars: bool = False


def n(expr: str, legend: str = "n") -> Query:
    """The number of samples behind a ratio or a quantile."""
    return Query(expr, legend, unit=units.Short)


def number(
    title: str, description: str, unit: str, queries: Sequence[Query], steps: Sequence[tuple[float, str]]
) -> Any:
    """One figure, or a figure and its n, coloured by thresholds (value, colour)."""
    panel = (
        stat.Panel()
        .text_mode(
            common.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else common.BigValueTextMode.VALUE
        )
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(c.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
    )
    return _dress(panel, title, description, unit, queries, instant=True)


def lines(title: str, description: str, unit: str, queries: Sequence[Query]) -> Any:
    """Lines over time."""
    panel = _graph().fill_opacity(0).line_width(2)
    return _dress(panel, title, description, unit, queries)


def bars(title: str, description: str, unit: str, queries: Sequence[Query]) -> Any:
    """Stacked areas over time: parts of a sum."""
    panel = (
        _graph().fill_opacity(40).line_width(1).stacking(c.StackingConfig().mode(common.StackingMode.NORMAL))
    )
    return _dress(panel, title, description, unit, queries)


def rows(title: str, description: str, key: str, columns: Sequence[Query], sort: str) -> Any:
    """A table with one line per value of `key` and one column per query."""
    names = {f"Value #{_ref(i)}": column.legend for i, column in enumerate(columns)}
    panel = (
        table.Panel()
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {},
                    "renameByName": {key: "validator", **names},
                },
            )
        )
        .sort_by([c.TableSortByFieldState().display_name(sort).desc(False)])
    )
    return _dress(panel, title, description, units.Short, columns, instant=True, table_format=True)


def line_at(panel: Any, value: float, colour: str) -> Any:
    """Draw a dashed threshold line."""
    style = c.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return panel.thresholds(_thresholds([(value, colour)])).thresholds_style(style)


def band(panel: Any, lower: str, upper: str) -> Any:
    """Fill between two series and keep their lines thin."""
    thin = [
        models.DynamicConfigValue(id_val="custom.lineWidth", value=0),
        models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": "super-light-blue"}),
    ]
    fill = [
        models.DynamicConfigValue(id_val="custom.fillBelowTo", value=lower),
        models.DynamicConfigValue(id_val="custom.fillOpacity", value=25),
    ]
    return panel.override_by_name(lower, thin).override_by_name(upper, thin + fill)


def _graph() -> timeseries.Panel:
    legend = (
        c.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = c.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    return timeseries.Panel().legend(legend).tooltip(tooltip).show_points(common.VisibilityMode.NEVER)


def _thresholds(steps: Sequence[tuple[float, str]]) -> d.ThresholdsConfig:
    """The first colour counts from minus infinity where no step says otherwise."""
    base = [models.Threshold(value=None, color="text")]
    marks = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return d.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(base + marks)


def _dress(
    panel: Any,
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    instant: bool = False,
    table_format: bool = False,
) -> Any:
    panel.title(title).description(description).unit(unit).datasource(DATASOURCE)
    for index, query in enumerate(queries):
        panel.with_target(_target(query, _ref(index), instant=instant, table_format=table_format))
        if query.unit:
            panel.override_by_name(query.legend, _own_unit(query))
    for name in COLOURS:
        if any(query.legend in ("{{verdict}}", "{{outcome}}", "{{cause}}") for query in queries):
            panel.override_by_name(name, [_fixed(COLOURS[name])])
    return panel


def _target(query: Query, ref: str, *, instant: bool, table_format: bool) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref).datasource(DATASOURCE)
    )
    target = target.instant() if instant else target.range()
    if query.exemplars:
        target = target.exemplar(True)
    return target.format(PromQueryFormat.TABLE) if table_format else target


def _own_unit(query: Query) -> list[models.DynamicConfigValue]:
    """A count beside a ratio hangs on the right-hand axis and needs no decimals."""
    values = [models.DynamicConfigValue(id_val="unit", value=query.unit)]
    if query.legend == "n" or query.legend.startswith("n "):
        values += [
            models.DynamicConfigValue(id_val="decimals", value=0),
            models.DynamicConfigValue(id_val="custom.axisPlacement", value="right"),
            models.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dot"}),
            _fixed("text"),
        ]
    return values


def _fixed(colour: str) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def _ref(index: int) -> str:
    return chr(ord("A") + index)
