"""A dashboard as a whole: its variables, its annotations, its links, and its panels in rows."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.prometheus import Dataquery

from deploy.grafana.make.names import scoped
from deploy.grafana.make.panels import SOURCE

TAG = "model-sidecar"
WIDTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable at the top of a dashboard, which is also the label that it chooses by."""

    label: str
    metric: str
    """Whose values of that label are offered."""
    every: bool = True
    """Whether all of them can be chosen, and are at first."""
    maybe: bool = False
    """Whether series without the label are to be seen too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A row of a dashboard and what stands below it; nothing of a folded one is asked until it is opened."""

    title: str
    panels: Sequence[Builder[dashboard.Panel]]
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Marks over every panel, each where the value of a series, in milliseconds, says."""

    name: str
    promql: str
    title: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    sections: Sequence[Section]
    events: Sequence[Event] = ()
    since: str = "now-3h"


def drawn(board: Board) -> dashboard.Dashboard:
    """The dashboard as Grafana has it."""
    labels = [variable.label for variable in board.variables]
    return dashboard.Dashboard(
        uid=board.uid,
        title=board.title,
        description=board.description,
        tags=[TAG],
        editable=False,
        graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
        time=dashboard.DashboardDashboardTime(from_val=board.since, to="now"),
        refresh="30s",
        panels=[*_panels(board.sections, labels)],
        templating=dashboard.DashboardDashboardTemplating([_source(), *_variables(board.variables)]),
        annotations=dashboard.AnnotationContainer([_event(event, labels) for event in board.events]),
        links=[_neighbours()],
    )


def _panels(sections: Sequence[Section], labels: Sequence[str]) -> Iterator[dashboard.Panel | dashboard.RowPanel]:
    y = 0
    numbers = count(1)
    for section in sections:
        place = dashboard.GridPos(x=0, y=y, w=WIDTH, h=1)
        row = dashboard.RowPanel(
            title=section.title, collapsed=section.folded, grid_pos=place, id_val=next(numbers), datasource=SOURCE
        )
        # Copied, since what is built is the builder's own, and is placed and scoped here.
        panels = [deepcopy(panel.build()) for panel in section.panels]
        bottom = _place(panels, y + 1)
        for panel in panels:
            panel.id_val = next(numbers)
            _scope(panel, labels)
        # Grafana keeps the panels of a folded row in it, and those of an open one behind it.
        yield row
        if section.folded:
            row.panels = panels
            y += 1
        else:
            yield from panels
            y = bottom


def _place(panels: Sequence[dashboard.Panel], y: int) -> int:
    """Set panels side by side while there is room, then below; where the next row begins."""
    x = tallest = 0
    for panel in panels:
        size = panel.grid_pos or dashboard.GridPos()
        if x + size.w > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        panel.grid_pos = dashboard.GridPos(x=x, y=y, w=size.w, h=size.h)
        x, tallest = x + size.w, max(tallest, size.h)
    return y + tallest


def _scope(panel: dashboard.Panel, labels: Sequence[str]) -> None:
    for query in panel.targets or []:
        if isinstance(query, Dataquery):
            query.expr = scoped(query.expr, labels)


def _source() -> dashboard.VariableModel:
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.DATASOURCE, name="datasource", label="data source", query="prometheus"
    )


def _variables(variables: Sequence[Variable]) -> Iterator[dashboard.VariableModel]:
    for place, variable in enumerate(variables):
        chosen = scoped(variable.metric, [before.label for before in variables[:place]])
        query = f"label_values({chosen}, {variable.label})"
        yield dashboard.VariableModel(
            type_val=dashboard.VariableType.QUERY,
            name=variable.label,
            label=variable.label,
            datasource=SOURCE,
            query={"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
            refresh=dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED,
            sort=dashboard.VariableSort.NATURAL_ASC,
            multi=variable.every,
            include_all=variable.every,
            # Matches a label that is not there, as those of Kubernetes are not elsewhere.
            all_value=".*" if variable.maybe else None,
            current=dashboard.VariableOption(text=["All"], value=["$__all"]) if variable.every else None,
        )


def _event(event: Event, labels: Sequence[str]) -> dashboard.AnnotationQuery:
    query = Dataquery(expr=scoped(event.promql, labels), ref_id="Anno", range_val=True, instant=False)
    return dashboard.AnnotationQuery(
        name=event.name,
        datasource=SOURCE,
        enable=True,
        icon_color=event.color,
        target=query,
        title_format=event.title,
        use_value_for_time=True,
    )


def _neighbours() -> dashboard.DashboardLink:
    return dashboard.DashboardLink(
        title="model-sidecar",
        type_val=dashboard.DashboardLinkType.DASHBOARDS,
        icon="external link",
        tags=[TAG],
        include_vars=True,
        keep_time=True,
    )
