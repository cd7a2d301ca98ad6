"""Which metrics PromQL reads, and which there are to be read: the exporter's own, recorded ones and Prometheus's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from exporter.services import CATALOG

PROMETHEUS = Path(__file__).parent.parent.parent / "deploy" / "prometheus"

OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")
OF_PROMETHEUS = frozenset({"up", "ALERTS", "ALERTS_FOR_STATE", "scrape_duration_seconds", "scrape_samples_scraped"})
"""Series that Prometheus writes by itself."""
OF_THE_RUNTIME = frozenset(
    {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "python_gc_collections_total",
        "python_gc_objects_collected_total",
        "python_gc_objects_uncollectable_total",
        "python_info",
    }
)
"""What the client library tells of the exporter's own process."""
BY_THE_SCRAPE = frozenset({"job", "instance", "namespace", "pod", "container", "node"})
"""Labels that come from the scrape or its service discovery, and may be on anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """One selector of an expression: the metric, and the labels that it is chosen by."""

    name: str
    labels: frozenset[str]


def selected(expression: str) -> Iterator[Selected]:
    """What a PromQL expression reads; variables of a dashboard are to be filled in before."""
    for selector in _selectors(promql_parser.parse(expression)):
        alternatives = (selector.matchers.matchers, *selector.matchers.or_matchers)
        matchers = {each.name: each.value for each in chain.from_iterable(alternatives)}
        name = selector.name or matchers.pop("__name__", "")
        yield Selected(name=name, labels=frozenset(matchers))


def names(expression: str) -> frozenset[str]:
    """The metrics that a PromQL expression reads."""
    return frozenset(each.name for each in selected(expression))


def published() -> Mapping[str, frozenset[str]]:
    """Every sample that the exporter may publish, and its labels."""
    found = {}
    for entry in CATALOG.reference():
        found[entry.name] = frozenset(entry.labels)
        if entry.kind == "histogram":
            del found[entry.name]
            found |= {f"{entry.name}{part}": frozenset({*entry.labels, "le"}) for part in OF_A_HISTOGRAM}
    return found


def recorded(folder: Path = PROMETHEUS) -> frozenset[str]:
    """Every name that the rule files of a folder record."""
    return frozenset(
        rule["record"] for file in sorted(folder.glob("*.yml")) for rule in rules(file) if "record" in rule
    )


def rules(file: Path) -> Iterator[Mapping[str, Any]]:  # Any: a rule as YAML has it
    """The rules of a file, in order; none where it is no file of rules."""
    for group in yaml.safe_load(file.read_text()).get("groups", ()):
        yield from group["rules"]


def known() -> frozenset[str]:
    """Every name that an expression may read."""
    return frozenset(published()) | recorded() | OF_PROMETHEUS | OF_THE_RUNTIME


def _selectors(expression: promql_parser.Expr) -> Sequence[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(expression, visit)
    return found
