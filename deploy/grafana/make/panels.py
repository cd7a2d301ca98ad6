"""Panels: how each kind looks, and what every panel has: a title, a description, a unit, thresholds and legends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import common as built
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.make import units
from deploy.grafana.make.names import found

M = TypeVar("M")
P = TypeVar("P", timeseries.Panel, stat.Panel, statetimeline.Panel, heatmap.Panel, table.Panel)

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
NO_COLUMN = "so"
"""The legend of a query in a table whose value is always 1, and therefore not shown."""

GOOD, WARNING, BAD = "green", "orange", "red"
PLAIN = "text"


class Ready(Builder[M]):
    """A part that is built already, for a builder that wants to build it."""

    def __init__(self, model: M) -> None:
        self._model = model

    def build(self) -> M:
        """The part."""
        return self._model


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of Prometheus, and what its series are called in the legend."""

    promql: str
    legend: str
    now: bool = False
    """Whether only the latest value is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a panel says of itself beyond its catalogued metrics."""

    note: str = ""
    """What to see in it, or what to do; stands before what the catalog says."""
    unit: str = ""
    """Where the name of the first metric does not tell it."""
    warning: float | None = None
    bad: float | None = None
    low: bool = False
    """Whether little is what is bad."""


SILENT = Words()


def lines(title: str, *queries: Query, words: Words = SILENT) -> timeseries.Panel:
    """Lines over time, from 0 up, and further down where a value is below."""
    panel = timeseries.Panel().axis_soft_min(0).line_width(1).fill_opacity(8).show_points(common.VisibilityMode.NEVER)
    panel.legend(_legend("lastNotNull", "max")).tooltip(_all_at_once()).span(12).height(8)
    if words.warning is not None or words.bad is not None:
        drawn = common.GraphThresholdsStyleMode.DASHED
        panel.thresholds_style(built.GraphThresholdsStyleConfig().mode(drawn))
    return _told(panel, title, queries, words)


def stacked(title: str, *queries: Query, words: Words = SILENT) -> timeseries.Panel:
    """Areas on top of one another, which together are the whole."""
    panel = lines(title, *queries, words=words).fill_opacity(60).line_width(0)
    return panel.stacking(built.StackingConfig().mode(common.StackingMode.NORMAL))


def bars(title: str, *queries: Query, words: Words = SILENT) -> timeseries.Panel:
    """Bars on top of one another, for what happens now and then."""
    return stacked(title, *queries, words=words).draw_style(common.GraphDrawStyle.BARS).fill_opacity(80)


def latest(title: str, query: Query, words: Words = SILENT) -> stat.Panel:
    """The latest value, large."""
    panel = stat.Panel().color_mode(common.BigValueColorMode.VALUE).graph_mode(common.BigValueGraphMode.NONE)
    panel.reduce_options(built.ReduceDataOptions().calcs(["lastNotNull"])).span(4).height(4)
    panel.text_mode(common.BigValueTextMode.AUTO).no_value("not told")
    return _told(panel, title, [Query(query.promql, query.legend, now=True)], words)


def states(
    title: str, query: Query, mappings: Sequence[dashboard.ValueMapping], words: Words = SILENT
) -> statetimeline.Panel:
    """What was so when: one band for each series, coloured by what its values mean."""
    panel = statetimeline.Panel().merge_values(True).show_value(common.VisibilityMode.AUTO).row_height(0.8)  # noqa: FBT003  the library's own call
    panel.fill_opacity(80).line_width(0).legend(_legend()).tooltip(_all_at_once()).span(24).height(7)
    return _told(panel.mappings([*mappings]), title, [query], words)


def heat(title: str, histogram: str, words: Words = SILENT) -> heatmap.Panel:
    """How observations of a histogram spread over its edges, over time."""
    panel = heatmap.Panel().calculate(False).cell_gap(1).show_legend().span(12).height(8)  # noqa: FBT003  as above
    panel.y_axis(heatmap.YAxisConfig().unit(units.SECONDS).axis_placement(common.AxisPlacement.LEFT))
    panel.color(
        heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5)
    )
    panel.tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True))  # noqa: FBT003
    query = Query(f"sum by (le) (increase({histogram}_bucket[$__rate_interval]))", "{{le}}")
    return _told(panel.interval("1m"), title, [query], words)


def rows(title: str, *queries: Query, columns: Mapping[str, str], words: Words = SILENT) -> table.Panel:
    """A table of what is so now: these labels as columns under these headings, then a column for each query's value."""
    panel = table.Panel().cell_height(common.TableCellHeight.SM).filterable(True).span(24).height(7)  # noqa: FBT003
    panel.no_value("not told").cell_options(common.TableAutoCellOptions())
    _told(panel, title, [Query(each.promql, each.legend, now=True) for each in queries], words)
    if len(queries) > 1:
        panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    shown = {**columns, **_values(queries)}
    kept = {"include": {"names": [*shown]}}
    order = {name: place for place, name in enumerate(shown)}
    organized = {"renameByName": shown, "indexByName": order, "excludeByName": {}}
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="filterFieldsByName", options=kept))
    return panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organized))


def _values(queries: Sequence[Query]) -> Mapping[str, str]:
    """What Grafana calls the column of each query's value, and its heading."""
    names = [f"Value #{ref}" for ref in ascii_uppercase] if len(queries) > 1 else ["Value"]
    return {name: query.legend for name, query in zip(names, queries, strict=False) if query.legend != NO_COLUMN}


def meaning(values: Mapping[float, tuple[str, str]]) -> dashboard.ValueMapping:
    """Values with the word and the colour that stand for them."""
    options = {
        f"{value:g}": dashboard.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(values.items())
    }
    return dashboard.ValueMap(options=options)


def coloured(series: str, color: str) -> Builder[dashboard.DashboardFieldConfigSourceOverrides]:
    """The series of that name in that colour."""
    fixed = {"mode": "fixed", "fixedColor": color}
    return Ready(
        dashboard.DashboardFieldConfigSourceOverrides(
            matcher=dashboard.MatcherConfig(id_val="byName", options=series),
            properties=[dashboard.DynamicConfigValue(id_val="color", value=fixed)],
        )
    )


YES_IS_GOOD = meaning({1: ("yes", GOOD), 0: ("no", BAD)})
YES_IS_BAD = meaning({1: ("yes", BAD), 0: ("no", GOOD)})


def _told(panel: P, title: str, queries: Sequence[Query], words: Words) -> P:
    panel.title(title).description(_description(queries, words)).datasource(SOURCE)
    panel.unit(words.unit or units.unit(queries[0].promql)).thresholds(Ready(_thresholds(words)))
    shape = _shape(panel)
    for ref, query in zip(ascii_uppercase, queries, strict=False):
        asked = prometheus.Dataquery().ref_id(ref).expr(query.promql).legend_format(query.legend).format(shape)
        panel.with_target(asked.instant() if query.now else asked.range())
    return panel


def _shape(panel: object) -> PromQueryFormat:
    if isinstance(panel, heatmap.Panel):
        return PromQueryFormat.HEATMAP
    return PromQueryFormat.TABLE if isinstance(panel, table.Panel) else PromQueryFormat.TIME_SERIES


def _description(queries: Sequence[Query], words: Words) -> str:
    """The note, and below it what the catalog says of each metric that is shown."""
    helps = {each.metric: each.help for query in queries for each in found(query.promql)}
    listed = "\n".join(f"- `{name}`: {text}" for name, text in helps.items())
    return "\n\n".join(filter(None, [words.note, listed]))


def _thresholds(words: Words) -> dashboard.ThresholdsConfig:
    steps = [(words.warning, WARNING), (words.bad, BAD)]
    known = [(value, color) for value, color in steps if value is not None]
    if not known:
        return _steps((None, PLAIN))
    if not words.low:
        return _steps((None, GOOD), *known)
    # Of little that is bad, each colour reaches up to where the next begins.
    colors = [color for _, color in reversed(known)]
    values = [value for value, _ in reversed(known)]
    return _steps((None, colors[0]), *zip(values, [*colors[1:], GOOD], strict=True))


def _steps(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig(
        mode=dashboard.ThresholdsMode.ABSOLUTE,
        steps=[dashboard.Threshold(value=value, color=color) for value, color in steps],
    )


def _legend(*figures: str) -> built.VizLegendOptions:
    shown = common.LegendDisplayMode.TABLE if figures else common.LegendDisplayMode.LIST
    legend = built.VizLegendOptions().show_legend(True).display_mode(shown)  # noqa: FBT003  the library's own call
    return legend.placement(common.LegendPlacement.BOTTOM).calcs([*figures])


def _all_at_once() -> built.VizTooltipOptions:
    return built.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
