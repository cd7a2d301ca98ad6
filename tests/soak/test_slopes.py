"""What a soak says of growth."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.soak.program import Sample, running
from tests.soak.slopes import FIGURES, MIB, PROMPTS_A_DAY, Course, courses, plot, table


def samples(*rss: float) -> Sequence[Sample]:
    """A sample a day, with so many MiB."""
    return [
        Sample(
            seconds=10.0 * day,
            prompts=PROMPTS_A_DAY * day,
            looks=0,
            scrapes=0,
            failures=0,
            restarts=0,
            rss_bytes=held * MIB,
            descriptors=20,
            threads=9,
            tasks=30,
            objects=80_000,
            series=600,
            children=0,
        )
        for day, held in enumerate(rss)
    ]


def course(lived: Sequence[Sample], name: str) -> Course:
    [found] = [each for each in courses(lived) if each.name == name]
    return found


def test_what_leaks_has_its_slope_a_day() -> None:
    leaking = samples(*(60 + 0.5 * day for day in range(30)))

    assert course(leaking, "RSS, MiB").slope == pytest.approx(0.5)


def test_what_fills_once_and_then_stays_has_none() -> None:
    filled = samples(50, 55, 59, *[60] * 27)

    assert course(filled, "RSS, MiB").slope == pytest.approx(0)
    assert course(filled, "threads").slope == pytest.approx(0)


def test_the_plot_is_a_drawing_with_a_line_for_every_figure() -> None:
    drawn = ET.fromstring(plot(samples(60, 61, 62)))

    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}polyline")) == len(FIGURES)


def test_the_table_tells_every_figure() -> None:
    text = "\n".join(table(samples(60, 61, 62, 63)))

    assert all(name in text for name in FIGURES)


def test_the_program_is_soaked_among_services_that_come_and_go(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.daemon.until(lambda page: page.failures("chat0") != {} and page.succeeded("chat0") > 3)
        sample = run.sample()

    assert sample.prompts > sample.failures > 0
    assert sample.scrapes > 0
    assert sample.rss_bytes > MIB
    assert sample.threads > 1
    assert sample.series > 100
