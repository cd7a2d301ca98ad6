"""What was measured, against what must be and what is aimed at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity; less is better."""

    quantity: str
    measured: float
    must: float
    aim: float
    unit: str = ""
    from_: str = ""
    """What it was made of, as measured."""

    @property
    def verdict(self) -> str:
        """Whether it is as it is aimed at, as it must be, or not."""
        return "aim" if self.measured <= self.aim else "must" if self.measured <= self.must else "NOT MET"


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The rows, as Markdown."""
    yield "| quantity | measured | must | aim | verdict | made of |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        figures = " | ".join(f"{figure:.3g}{row.unit}" for figure in (row.measured, row.must, row.aim))
        yield f"| {row.quantity} | {figures} | {row.verdict} | {row.from_} |"
