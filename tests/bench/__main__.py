"""Everything in one run: `python -m tests.bench [--quick] [--json FILE] [--plot FILE]`.

Peers come from the packages of their distributions, and are kept for the next time. Run it on a machine that does
nothing else; ratios of one run may be compared with those of another, milliseconds may not.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from exporter import __version__
from tests.bench import beside, fleet, page, stream, stuck
from tests.bench.beside import OURS, Minute
from tests.bench.curves import Curve, curves
from tests.bench.table import Row, table
from tests.plot import plot

MILLI, MICRO = 1e3, 1e6
WIDTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long each part goes on."""

    minute: float
    rounds: int
    prompts: int
    fleet: float
    targets: int
    curve: float


WHOLE = Lengths(minute=60, rounds=6, prompts=60, fleet=60, targets=1000, curve=6)
QUICK = Lengths(minute=10, rounds=2, prompts=10, fleet=0, targets=0, curve=0)


def minutes(lengths: Lengths) -> Iterator[Row]:
    """CPU and memory beside the three."""
    for polls, aim in ((5.0, 0.12), (1.0, 0.15)):
        told = dict(beside.a_minute(lengths.minute, polls=polls))
        ours = told.pop(OURS)
        yield Row(
            quantity=f"CPU a minute, {polls:g} s polls ÷ sum of the three",
            measured=ours.cpu / sum(each.cpu for each in told.values()),
            must=0.25,
            aim=aim,
            from_=_listed({OURS: ours, **told}, lambda each: f"{each.cpu:.3f} s"),
        )
        if polls > 1:
            yield Row(
                quantity="RSS after a minute ÷ sum of the three",
                measured=ours.rss / sum(each.rss for each in told.values()),
                must=0.80,
                aim=0.70,
                from_=_listed({OURS: ours, **told}, lambda each: f"{each.rss:.1f} MiB of {each.samples} samples"),
            )


def pages(lengths: Lengths) -> Iterator[Row]:
    """A scrape and a sample."""
    fresh, kept, node = page.a_scrape(lengths.rounds)
    yield Row(
        quantity="CPU a scrape, rendered afresh, gzip ÷ node_exporter",
        measured=fresh / node,
        must=0.15,
        aim=0.07,
        from_=f"{fresh * MILLI:.2f} ms, unchanged {kept * MILLI:.2f} ms, node_exporter {node * MILLI:.2f} ms",
    )
    for (name, (ours, theirs)), must, aim in zip(
        page.a_sample(5 * lengths.rounds).items(), (0.20, 0.15), (0.06, 0.04), strict=True
    ):
        yield Row(
            quantity=f"CPU a rendered sample ÷ generate_latest, {name}",
            measured=ours / theirs,
            must=must,
            aim=aim,
            from_=f"{ours * MICRO:.2f} µs, generate_latest {theirs * MICRO:.2f} µs",
        )


def starts(lengths: Lengths) -> Iterator[Row]:
    """How long until a GPU is seen."""
    taken = beside.first_gpu(2 * lengths.rounds)
    yield Row(
        quantity="start to first GPU sample ÷ nvitop-exporter",
        measured=taken[OURS] / taken["nvitop-exporter"],
        must=1.5,
        aim=1.0,
        from_=", ".join(f"{name} {seconds * MILLI:.0f} ms" for name, seconds in taken.items()),
    )


def streams(lengths: Lengths) -> Iterator[Row]:
    """How far the clock is to be believed, while 2,000 samples are scraped ten times a second."""
    ours, theirs = (stream.errors(how, lengths.prompts) for how in ("ours", "httpx"))
    yield Row(
        quantity="first-token overshoot ÷ httpx aiter_lines",
        measured=ours.first_token / theirs.first_token,
        must=0.50,
        aim=0.10,
        from_=f"{ours.first_token * MICRO:.0f} µs, httpx {theirs.first_token * MICRO:.0f} µs",
    )
    for what, our, their in (
        ("token arrival error p99", ours.arrival_p99, theirs.arrival_p99),
        ("token gap error p99", ours.gap_p99, theirs.gap_p99),
    ):
        against = f"httpx {their * MICRO:.0f} µs"
        yield Row(quantity=what, measured=our * MICRO, must=1000, aim=60, unit=" µs", from_=against)
    yield Row(
        quantity="loop lag p99 at 2,000 samples, 10 scrapes a second",
        measured=ours.lag_p99 * MILLI,
        must=2,
        aim=1,
        unit=" ms",
    )


def stuck_clients(lengths: Lengths) -> Iterator[Row]:
    """Two hundred clients that are stuck."""
    among = stuck.two_hundred(10 * lengths.rounds)
    name = "200 stuck clients:"
    yield Row(quantity=f"{name} scrape p50 ÷ alone", measured=among.scrape, must=1.5, aim=1.2)
    yield Row(quantity=f"{name} threads more", measured=among.threads, must=0, aim=0)
    yield Row(quantity=f"{name} RSS more", measured=among.rss, must=3, aim=3, unit=" MiB")


def fleets(lengths: Lengths) -> Iterator[Row]:
    """Many services."""
    if not lengths.targets:
        return
    hundred = fleet.a_hundred(lengths.fleet)
    name = "100 targets, health at 1 s, prompts at 10 s:"
    yield Row(quantity=f"{name} CPU of a core", measured=100 * hundred.cpu, must=60, aim=35, unit=" %")
    late = hundred.first_token_p99 * MICRO
    yield Row(quantity=f"{name} first-token error p99", measured=late, must=2000, aim=500, unit=" µs")
    one, many = fleet.memory(1, lengths.fleet / 6), fleet.memory(lengths.targets, 1.25 * lengths.fleet)
    yield Row(
        quantity="1,000 targets at 15 s and 60 s: memory a target",
        measured=(many - one) * 2**20 / (lengths.targets - 1) / 1e3,
        must=90,
        aim=60,
        unit=" kB",
        from_=f"{many:.1f} MiB, of one target {one:.1f} MiB",
    )


PARTS: Sequence[Callable[[Lengths], Iterator[Row]]] = (
    minutes, pages, starts, streams, stuck_clients, fleets,
)  # fmt: skip


def machine() -> Mapping[str, str]:
    """On what all this was measured, and of which versions."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    packages = ("prometheus_client", "psutil", "httpx", "pydantic-settings", "uvloop", "httptools", "nvidia-ml-py")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": f"{os.cpu_count()} cores, {model.partition(': ')[2]}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "model-sidecar": __version__,
        **beside.versions(),
        **{name: version(name) for name in packages},
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def main() -> None:
    """Measure, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="what can be told within a minute")
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS], help="one part of it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="how cost grows, as SVG")
    given = parser.parse_args()
    lengths = QUICK if given.quick else WHOLE
    on = machine()
    rows: list[Row] = []
    for part in PARTS:
        if given.only in (None, part.__name__):
            sys.stderr.write(f"{part.__doc__}\n")
            rows += part(lengths)
    grown = curves(lengths.curve, most=lengths.targets) if lengths.targets and not given.only else []
    _say(on, rows, grown)
    if given.json:
        document = {"machine": on, "rows": [{**asdict(row), "verdict": row.verdict} for row in rows]}
        given.json.write_text(json.dumps({**document, "curves": [asdict(curve) for curve in grown]}, indent=2))
    if given.plot and grown:
        given.plot.write_text(plot([curve.panels() for curve in grown], WIDTH))


def _say(on: Mapping[str, str], rows: Sequence[Row], grown: Sequence[Curve]) -> None:
    lines = [", ".join(f"{name} {said}" for name, said in on.items()), "", *table(rows), ""]
    for curve in grown:
        points = ", ".join(f"{each.many}: {each.cpu:.2f} and {each.rss:.1f}" for each in curve.points)
        slopes = f"each one more {curve.cpu_slope:.4f} and {curve.rss_slope:.1f} KiB"
        lines.append(f"{curve.of}, {curve.unit} and MiB: {points}; {slopes}")
    sys.stdout.write("\n".join(lines) + "\n")


def _listed(told: Mapping[str, Minute], say: Callable[[Minute], str]) -> str:
    return ", ".join(f"{name} {say(minute)}" for name, minute in told.items())


if __name__ == "__main__":
    main()
