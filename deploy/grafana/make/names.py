"""The names in a query: each is one that the exporter publishes, a rule records, or a library tells."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from exporter.exposition import Entry
from exporter.services import CATALOG

CATALOGUED: Mapping[str, Entry] = {entry.name: entry for entry in CATALOG.reference()}
LABELS: Collection[str] = {label for entry in CATALOGUED.values() for label in entry.labels}
OF_THE_PROCESS: Mapping[str, str] = {
    "process_cpu_seconds_total": "CPU time of the exporter itself.",
    "process_resident_memory_bytes": "Memory of the exporter itself.",
    "process_open_fds": "Files that the exporter itself has open.",
}
"""What prometheus_client tells of the exporter's own process, as far as a panel shows it."""

RULES = Path(__file__).parent.parent.parent / "prometheus"


def _recorded() -> Iterator[tuple[str, str]]:
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text()).get("groups", ()):
            for rule in group["rules"]:
                if ":" in rule.get("record", ""):
                    yield rule["record"], f"recorded in `{file.name}`, which is to be loaded."


HELP: Mapping[str, str] = {
    **OF_THE_PROCESS,
    **{name: entry.help for name, entry in CATALOGUED.items()},
    **dict(_recorded()),
}
"""What is to be known of each name that a query may have."""


NAME = re.compile(r"(?<![\w:$/])(?:fleet|gpu|host|model|process)[_:][\w:]+(\{[^}]*\})?")
PARTS_OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")
SCOPE = ("job", "namespace", "pod", "instance")
"""Labels that a scrape adds, each with a variable of the same name."""

NARROWED_BY = ("target", "gpu")
"""Labels of the exporter's own with a variable, where the dashboard has that."""

KEPT: Mapping[str, Collection[str]] = {
    "fleet": ("job", "namespace"),
    "host": SCOPE,
    "model": (*SCOPE, "target"),
}
"""The labels with a variable that are left on what a rule records, by what its name begins with."""


@dataclass(frozen=True, slots=True)
class Found:
    """A name in a query, and how the query itself chooses its series."""

    name: str
    chosen: str
    """What stands between the braces."""
    begin: int
    end: int

    @property
    def metric(self) -> str:
        """The metric that it is, or is a part of."""
        return _whole(self.name)

    @property
    def help(self) -> str:
        """What is to be known of it."""
        return HELP[self.metric]


def found(query: str) -> Iterator[Found]:
    """The names in a query, in their order.

    Raises LookupError for a name that nobody tells.
    """
    for match in NAME.finditer(_unquoted(query)):
        name = match[0].partition("{")[0]
        if name not in LABELS:
            if _whole(name) not in HELP:
                raise LookupError(f"no metric is called {name}")
            chosen = query[match.start(1) + 1 : match.end(1) - 1] if match[1] else ""
            yield Found(name, chosen, match.start(), match.end())


def scoped(query: str, variables: Collection[str]) -> str:
    """The query, in which each metric is chosen by the variables of its dashboard too."""
    parts, end = [], 0
    for each in found(query):
        chosen = [f'{label}=~"${label}"' for label in _labels(each.metric) if label in variables]
        matchers = ",".join([*chosen, *filter(None, [each.chosen])])
        parts += [query[end : each.begin], each.name, "{" + matchers + "}" if matchers else ""]
        end = each.end
    return "".join([*parts, query[end:]])


def _labels(metric: str) -> Collection[str]:
    """The labels of a metric that a variable may be named after."""
    level, recorded, _ = metric.partition(":")
    if recorded:
        return KEPT[level]
    own = CATALOGUED[metric].labels if metric in CATALOGUED else ()
    return (*SCOPE, *(label for label in NARROWED_BY if label in own))


def _whole(name: str) -> str:
    """The metric that a name is of, without what stands behind the name of a histogram."""
    for part in PARTS_OF_A_HISTOGRAM:
        whole = name.removesuffix(part)
        if whole != name and whole in CATALOGUED and CATALOGUED[whole].kind == "histogram":
            return whole
    return name


def _unquoted(query: str) -> str:
    """The query with every string blanked, at its old length."""
    return re.sub(r'"[^"]*"', lambda match: '"' + " " * (len(match[0]) - 2) + '"', query)
