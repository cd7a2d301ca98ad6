"""What each kind of reading has on the page: one column for each metric that it declares."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from exporter.reading import Counter, Gauge, Histogram, Label, Reading, declarations


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of one kind of reading."""

    name: str
    attribute: str
    declared: Gauge | Counter | Histogram
    labels: Sequence[str]

    @property
    def kind(self) -> str:
        """The metric's type, as the page tells it."""
        return type(self.declared).__name__.lower()

    @property
    def sample(self) -> str:
        """What its samples are named."""
        return f"{self.name}_total" if isinstance(self.declared, Counter) else self.name

    @cached_property
    def by(self) -> tuple[str, ...]:
        """The labels that its keys fill."""
        by = () if isinstance(self.declared, Histogram) else self.declared.by
        return (by,) if isinstance(by, str) else by

    @cached_property
    def heads(self) -> Mapping[bool, str]:
        """What stands before the samples, in OpenMetrics and not: there a counter's family is named without _total."""
        help_ = self.declared.help.replace("\\", "\\\\").replace("\n", "\\n")
        quoted = help_.replace('"', '\\"')
        return {
            True: f"# HELP {self.name} {quoted}\n# TYPE {self.name} {self.kind}\n",
            False: f"# HELP {self.sample} {help_}\n# TYPE {self.sample} {self.kind}\n",
        }


def columns(kind: type[Reading]) -> Iterator[Column]:
    """The metrics of a kind of reading, in the order of its fields."""
    declared = declarations(kind)
    labels = tuple(sorted(name for name, declaration in declared.items() if isinstance(declaration, Label)))
    for name, declaration in declared.items():
        if isinstance(declaration, Gauge | Counter | Histogram):
            yield Column(name=f"{kind.PREFIX}_{name}", attribute=name, declared=declaration, labels=labels)
