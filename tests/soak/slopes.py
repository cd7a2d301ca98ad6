"""What samples of a run say of growth: a straight line through each figure, as a table and as a plot."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, fmean, linear_regression

from tests.plot import Panel
from tests.plot import plot as pictured
from tests.soak.program import Sample

SETTLED = 0.25
"""The share of a run after which whatever fills once is full."""

PROMPTS_A_DAY = 2880
SCRAPES_A_DAY = 5760

MIB = 2**20
FIGURES: dict[str, Callable[[Sample], float]] = {
    "RSS, MiB": lambda it: it.rss_bytes / MIB,
    "file descriptors": lambda it: it.descriptors,
    "threads": lambda it: it.threads,
    "child processes": lambda it: it.children,
    "tasks of asyncio": lambda it: it.tasks,
    "objects of Python": lambda it: it.objects,
    "series on the page": lambda it: it.series,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one figure went once the run had settled; days are those of prompts in the usual rhythm."""

    name: str
    days: Sequence[float]
    values: Sequence[float]

    @property
    def slope(self) -> float:
        """By how much it grows in a day."""
        try:
            return linear_regression(self.days, self.values).slope
        except StatisticsError:  # one sample, or all at one time
            return 0.0

    @property
    def thirds(self) -> tuple[float, float, float]:
        """Its mean in each third: what fills up grows less and less, and what leaks as much as before."""
        third = max(len(self.values) // 3, 1)
        return fmean(self.values[:third]), fmean(self.values[third : 2 * third] or [0.0]), fmean(self.values[-third:])


def days(sample: Sample) -> float:
    """Days of prompts that were lived through."""
    return sample.prompts / PROMPTS_A_DAY


def courses(samples: Sequence[Sample]) -> Sequence[Course]:
    """The course of every figure."""
    settled = samples[int(len(samples) * SETTLED) :]
    return [
        Course(name=name, days=[days(it) for it in settled], values=[figure(it) for it in settled])
        for name, figure in FIGURES.items()
    ]


def table(samples: Sequence[Sample]) -> Iterator[str]:
    """What was lived through, and by how much each figure grew."""
    first, last = samples[0], samples[-1]
    yield f"{last.seconds:.0f} s: {last.prompts:.0f} prompts ({days(last):.1f} days of one every 30 s)"
    yield f"  {last.scrapes} scrapes ({last.scrapes / SCRAPES_A_DAY:.1f} days of one every 15 s)"
    yield f"  {last.looks:.0f} looks in all, {last.failures:.0f} prompts failed, {last.restarts} services begun"
    yield ""
    thirds = f"{'1st third':>10} {'2nd third':>10} {'3rd third':>10}"
    yield f"{'':20} {'first':>9} {thirds} {'highest':>9} {'a day':>9} {'30 days':>9}"
    for course, figure in zip(courses(samples), FIGURES.values(), strict=True):
        one, two, three = course.thirds
        highest = max(map(figure, samples))
        figures = f"{figure(first):9.1f} {one:10.1f} {two:10.1f} {three:10.1f} {highest:9.1f}"
        yield f"{course.name:20} {figures} {course.slope:+9.3f} {course.slope * 30:+9.2f}"


WIDTH = 640


def plot(samples: Sequence[Sample]) -> str:
    """Every figure over the days, one above the other, from 0 to its highest."""
    return pictured([[_panel(name, samples, figure)] for name, figure in FIGURES.items()], WIDTH)


def _panel(name: str, samples: Sequence[Sample], figure: Callable[[Sample], float]) -> Panel:
    most, long = max(1.0, *map(figure, samples)), max(days(samples[-1]), 1e-9)
    points = [(days(it), figure(it)) for it in samples]
    return Panel(title=f"{name}: 0 to {most:.6g}, over {long:.1f} days", points=points, far=long, most=most)
