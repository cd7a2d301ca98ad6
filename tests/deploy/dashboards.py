"""The committed dashboards, taken apart: their panels, and what each asks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "dashboards"
NAMES = ("fleet", "gpu", "host", "service")

Document = Mapping[str, Any]
"""A part of a dashboard, as its JSON stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query, and where it stands."""

    where: str
    promql: str
    now: bool
    """Whether it is asked for one moment rather than over time."""


def dashboard(name: str) -> Document:
    """A dashboard as it is committed."""
    document: Document = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def panels(document: Document) -> Iterator[Document]:
    """Every panel of a dashboard that shows something, those in folded rows too."""
    for panel in document["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


def queries(name: str) -> Iterator[Asked]:
    """What the panels and annotations of a dashboard ask."""
    document = dashboard(name)
    for panel in panels(document):
        for target in panel["targets"]:
            where = f"{name}: {panel['title']}, {target['legendFormat']}"
            yield Asked(where=where, promql=target["expr"], now=target["instant"])
    for mark in document["annotations"]["list"]:
        yield Asked(where=f"{name}: {mark['name']}, annotation", promql=mark["target"]["expr"], now=False)


def variables(document: Document) -> Sequence[Document]:
    """The variables of a dashboard that ask Prometheus for their values."""
    return [each for each in document["templating"]["list"] if each["type"] == "query"]


def filled(promql: str, values: Mapping[str, str]) -> str:
    """A query with its variables replaced, as Grafana replaces them before it asks."""
    for name in sorted(values, key=len, reverse=True):
        promql = promql.replace(f"${name}", values[name])
    return promql
