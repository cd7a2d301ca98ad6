"""What is kept from one page for the next: never more than is still true, by what prometheus_client would write."""

import gzip
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from exporter.exposition import PIECE, Exposition
from exporter.exposition.columns import Column
from exporter.exposition.rendering import KEPT
from exporter.reading import Distribution, Reading
from tests.test_exposition import CATALOG, OPENMETRICS, PLAIN, House, Kettle, Parsed, counts, ours, spread, texts, waits

Sample = tuple[str, dict[str, str], float]

# Nought and minus nought are one and the same to whoever keeps a text.
figures = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats().map(lambda figure: figure or 0.0),
    st.sampled_from([1e6, 2**53, 1e16, 999_999.5, 1_234_567.25, -1e6, 1e-7]),
)
several = st.lists(st.tuples(texts.filter(bool), figures), max_size=3, unique_by=lambda each: each[0]).map(dict)
kettles = st.builds(
    Kettle,
    room=st.sampled_from(["kitchen", "hall", 'a "cellar" of 100 %', ""]),
    lit=st.none() | st.booleans(),
    boiled=st.none() | figures,
    clicks=st.none() | several,
    heat_joules=st.none() | st.dictionaries(st.tuples(texts.filter(bool), texts.filter(bool)), counts, max_size=3),
    wait_seconds=st.none() | st.builds(spread, waits) | st.just(Distribution.over((2e6,)).plus(3e6)),
)


@st.composite
def looks(draw: st.DrawFn) -> Sequence[Sequence[Reading]]:
    """Readings that come, go, repeat, swap places and change their shape from look to look."""
    known: Sequence[Kettle] = draw(st.lists(kettles, min_size=1, max_size=6))
    others = st.lists(st.sampled_from(known), max_size=4, unique_by=lambda kettle: kettle.room)
    return draw(st.lists(others, min_size=2, max_size=6))


def written(readings: Sequence[Reading], accept: str) -> str:
    """The page as prometheus_client writes it, of samples that were told one by one."""
    encode, _ = choose_encoder(accept)
    return encode(Parsed(list(families(readings)))).decode().removesuffix("# EOF\n")


def families(readings: Sequence[Reading]) -> Iterator[Metric]:
    for kind, columns in CATALOG.columns.items():
        of_kind = [reading for reading in readings if type(reading) is kind]
        for column in columns:
            family = Metric(column.name, column.declared.help, column.kind)
            for sample in (sample for reading in of_kind for sample in samples(column, reading)):
                family.add_sample(*sample)
            if family.samples:
                yield family


def samples(column: Column, reading: Reading) -> Iterator[Sample]:
    own = {label: value for label in column.labels if (value := getattr(reading, label))}
    match getattr(reading, column.attribute):
        case None:
            pass
        case Distribution() as told:
            below = [*accumulate(told.counts)]
            for edge, count in zip((*told.edges, math.inf), below, strict=True):
                yield f"{column.name}_bucket", {**own, "le": floatToGoString(edge)}, count  # type: ignore[no-untyped-call]
            yield f"{column.name}_count", own, below[-1]
            yield f"{column.name}_sum", own, told.sum
        case Mapping() as told:
            for key, figure in told.items():
                named = zip(column.by, (key,) if isinstance(key, str) else key, strict=True)
                yield column.sample, {**own, **dict(named)}, figure
        case figure:
            yield column.sample, own, figure


@settings(deadline=None)
@given(told=looks())
def test_whatever_becomes_of_the_readings_each_page_is_as_prometheus_client_would_write_it(
    told: Sequence[Sequence[Reading]],
) -> None:
    now: list[Sequence[Reading]] = [()]
    exposition = Exposition(CATALOG, lambda: now[-1])

    for look in told:
        now.append(look)
        for accept in (OPENMETRICS, PLAIN):
            assert ours(exposition.page(accept)[0].decode()) == written(look, accept)


@pytest.mark.parametrize("many", [KEPT, KEPT + 1])
def test_the_readings_of_a_large_fleet_are_told_like_those_of_a_small_one(many: int) -> None:
    houses = [
        Kettle(
            room=f"{number}",
            lit=None if number % 3 else True,
            boiled=number,
            clicks={f"{number % 2}": number, "more": 0.5},
            heat_joules={("tap", "cold"): number} if number % 5 else None,
            wait_seconds=spread([number]),
        )
        for number in range(many)
    ]
    now = [houses]
    exposition = Exposition(CATALOG, lambda: now[0])

    first = exposition.page(PLAIN)[0].decode()
    now[0] = [replace(house, boiled=7, clicks={"more": 1e9}) for house in reversed(houses)]
    second = exposition.page(PLAIN)[0].decode()

    assert ours(first) == written(houses, PLAIN)
    assert ours(second) == written(now[0], PLAIN)


@pytest.mark.parametrize(
    "figures",
    [
        (999_999, 2),
        (600_000.5, 600_000.25),
        (1, 0.5),
        (True, 2),
        (math.nan, 1),
        (math.inf, -math.inf),
        (2**53 + 1, 10**15),
        (-5_000_000, 5_000_000),
        (1e22, 123_456_789.125),
    ],
)
def test_figures_are_written_as_go_writes_them_whichever_stand_beside_them(figures: tuple[float, float]) -> None:
    one, other = figures
    readings = [Kettle(room="kitchen", clicks={"one": one, "other": other}), House(rooms=3)]

    page, _ = Exposition(CATALOG, lambda: readings).page(PLAIN)

    assert ours(page.decode()) == written(readings, PLAIN)


def test_pages_leave_nothing_behind() -> None:
    turns = [
        [Kettle(room=f"{room}", clicks={"left": turn, "right": 0.5 * turn}) for room in range(30)] for turn in (1, 2)
    ]
    turn = cycle(turns)
    exposition = Exposition(CATALOG, lambda: next(turn))

    held = []
    for _ in range(2):
        for _ in range(100):
            exposition.page(PLAIN)
        held.append(sys.getallocatedblocks())

    assert held[1] - held[0] < 100


def test_a_page_of_several_pieces_is_whole_gzipped_or_not() -> None:
    readings = [Kettle(room=f"{number}" * 100, boiled=number) for number in range(PIECE // 200)]
    exposition = Exposition(CATALOG, lambda: readings)

    packed, _ = exposition.page(PLAIN, gzipped=True)
    body, _ = exposition.page(PLAIN)

    assert len(body) > PIECE
    assert ours(gzip.decompress(packed).decode()) == ours(body.decode()) == written(readings, PLAIN)
