"""How cost grows with what there is: services, series, GPUs and scrapers."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from tests.bench.page import scraped, serving
from tests.bench.program import Scraper
from tests.bench.service import speaking
from tests.bench.sidecar import driver, watched, watching
from tests.nvml.driver import Driver
from tests.plot import Panel

SCRAPE = 5.0
SETTLE = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What so many of something cost."""

    many: int
    cpu: float
    rss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How CPU and memory grow with one thing."""

    of: str
    unit: str
    """What its CPU is told in."""
    points: Sequence[Point]

    @property
    def cpu_slope(self) -> float:
        """CPU for each one more."""
        return linear_regression([each.many for each in self.points], [each.cpu for each in self.points]).slope

    @property
    def rss_slope(self) -> float:
        """KiB for each one more."""
        return linear_regression([each.many for each in self.points], [each.rss * 1024 for each in self.points]).slope

    def panels(self) -> Sequence[Panel]:
        """Its CPU and its memory, to be shown side by side."""
        return [
            _panel(f"{self.unit} by {self.of}", [(each.many, each.cpu) for each in self.points]),
            _panel(f"MiB by {self.of}", [(each.many, each.rss) for each in self.points]),
        ]


def _panel(title: str, points: Sequence[tuple[float, float]]) -> Panel:
    far, most = max(x for x, _ in points) or 1, max(y for _, y in points) or 1.0
    return Panel(title=f"{title}: to {most:.3g} at {far:g}", points=points, far=far, most=most, dotted=True)


def curves(seconds: float, *, most: int) -> Sequence[Curve]:
    """Every curve, each point of it so long; as many services at most."""
    targets = [many for many in (1, 10, 100, 1000) if many <= most]
    idle = "ms of CPU a second"
    return [
        Curve(of="targets", unit=idle, points=[_targets(many, seconds) for many in targets]),
        Curve(of="series", unit="ms of CPU a scrape", points=[_series(many) for many in (500, 5000, 50000)]),
        Curve(of="GPUs", unit=idle, points=[_gpus(many, seconds) for many in (0, 1, 4, 8, 16)]),
        Curve(of="MIG instances", unit=idle, points=[_instances(many, seconds) for many in (0, 7, 56)]),
        Curve(of="scrapers", unit=idle, points=[_scrapers(many, seconds) for many in (1, 3, 10)]),
    ]


def _targets(many: int, seconds: float) -> Point:
    with speaking() as url:
        settings = watching([f"{url}/{number}" for number in range(many)], polls=15, health=15, prompts=60)
        return _watched(settings, seconds, many=many)


def _series(many: int) -> Point:
    with serving("fresh", many) as program:
        cpu = scraped(program, 20) * 1e3
        return Point(many=many, cpu=cpu, rss=program.rss())


def _gpus(many: int, seconds: float) -> Point:
    with tempfile.TemporaryDirectory() as folder:
        made = driver(Path(folder) / "driver", gpus=max(many, 1)) if many else None
        return _watched(watching([], polls=5), seconds, many=many, gpus=made)


def _instances(many: int, seconds: float) -> Point:
    with tempfile.TemporaryDirectory() as folder:
        slots = {f"gpu.*.mig.{slot}.ids": f"{slot + 1}:0" for slot in range(many // 8)}
        made = driver(Path(folder) / "driver", board="h100-mig" if many else "h100", said=slots)
        return _watched(watching([], polls=5), seconds, many=many, gpus=made)


def _scrapers(many: int, seconds: float) -> Point:
    with speaking() as url, tempfile.TemporaryDirectory() as folder:
        made = driver(Path(folder) / "driver")
        return _watched(watching([url]), seconds, many=many, gpus=made, scrapers=many)


def _watched(
    settings: Mapping[str, object], seconds: float, *, many: int, gpus: Driver | None = None, scrapers: int = 1
) -> Point:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program, _ = stack.enter_context(watched(folder, settings, driver=gpus))
        asking = [stack.enter_context(closing(Scraper(program.port))) for _ in range(scrapers)]
        _scrape(asking, SETTLE)
        before, began = program.cpu(), time.monotonic()
        _scrape(asking, seconds)
        spent = (program.cpu() - before) / (time.monotonic() - began)
        return Point(many=many, cpu=spent * 1e3, rss=program.rss())


def _scrape(asking: Sequence[Scraper], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for scrape in asking:
            scrape()
        time.sleep(min(SCRAPE, max(end - time.monotonic(), 0)))
