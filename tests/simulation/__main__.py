"""How soon outages are told, and how often one is told that is none: `python -m tests.simulation [lives] [days]`."""

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from random import Random
from statistics import median

from exporter.assessor import WAKING
from tests.simulation.days import DAYS
from tests.simulation.outages import OUTAGES, broken


def detections(lives: int, pool: Executor) -> Iterator[str]:
    """For each outage how soon it was told."""
    yield f"{'outage':42} {'state':14} {'lives':>6} {'told':>6} {'median':>8} {'worst':>8} {'target':>8}"
    for number, outage in enumerate(OUTAGES):
        told = sorted(at for at in pool.map(partial(_after, number), range(lives)) if at is not None)
        middle, worst = (median(told), told[-1]) if told else (float("nan"), float("nan"))
        counts = f"{lives:6} {len(told):6} {middle:7.0f}s {worst:7.0f}s {outage.within:7.0f}s"
        yield f"{outage.name:42} {outage.state:14} {counts}"


def alarms(days: int, pool: Executor) -> Iterator[str]:
    """For each kind of day how often somebody was woken."""
    yield f"{'day':42} {'days':>6} {'prompts':>8} {'failed':>7} {'starved':>8} {'alarms':>7} {'a day':>7}"
    for number, kind in enumerate(DAYS):
        lived = list(pool.map(partial(_day, number), range(days)))
        prompts, failed, starved = (
            sum(each[0] for each in lived),
            sum(each[1] for each in lived),
            max(each[2] for each in lived),
        )
        woken = sum((each[3] for each in lived), Counter[str]())
        counts = f"{days:6} {prompts:8} {failed:7} {starved:7.0f}s {woken.total():7} {woken.total() / days:7.3f}"
        yield f"{kind.__name__.replace('_', ' '):42} {counts} {' '.join(sorted(woken))}"


def _after(number: int, seed: int) -> float | None:
    outage = OUTAGES[number]
    return broken(outage, seed).after(outage.state)


def _day(number: int, seed: int) -> tuple[int, int, float, Counter[str]]:
    day = DAYS[number](Random(seed))
    record = day.lived(seed)
    woken = Counter(str(state) for state in record.states if state in WAKING)
    return record.attempts, record.failures, day.starves(), woken


def main() -> None:
    """Live through it all, and say so line by line."""
    lives, days = (int(typed) for typed in (*sys.argv[1:], "40", "5")[:2])
    with ProcessPoolExecutor() as pool:
        for line in (*detections(lives, pool), "", *alarms(days, pool)):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
