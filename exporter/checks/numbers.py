"""Numbers as people and models write them, and whether they lie in a range."""

import re
from collections.abc import Iterator
from math import inf

from exporter.frozen import frozen

RUN = re.compile(r"(?:(?<!\w)[-\u2212])?\d+(?:[.,'\u2019 \u00a0\u202f]\d+)*(?:[eE][-+]?\d+)?")
THOUSANDS = re.compile(r"-?\d{1,3}(?:([.,'\u2019 \u00a0\u202f])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
APART = re.compile(r"[,'\u2019 \u00a0\u202f]")
PLAIN = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
MOST_DIGITS = 64


@frozen
class Range:
    """Numbers from one to another, both included; NaN is in none."""

    min: float = -inf
    max: float = inf

    def holds(self, value: float) -> bool:
        """Whether a number lies in it."""
        return self.min <= value <= self.max

    def __str__(self) -> str:
        return f"{self.min:g}" if self.min == self.max else f"between {self.min:g} and {self.max:g}"


def numbers(text: str) -> Iterator[float]:
    """Every number that a text may be said to hold; 1.234 is read both ways, and 1,2 is three numbers."""
    for run in RUN.finditer(text):
        yield from _meanings(run[0].replace("\u2212", "-"))


def _meanings(run: str) -> Iterator[float]:
    thousands = THOUSANDS.fullmatch(run) if len(run) <= MOST_DIGITS else None
    if thousands is not None:
        yield float(run.replace(thousands[1], "").replace(",", "."))
    if DECIMAL_COMMA.fullmatch(run):
        yield float(run.replace(",", "."))
    parts = [run] if thousands else APART.split(run)
    yield from (float(part) for part in parts if PLAIN.fullmatch(part))
