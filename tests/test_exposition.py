"""The page: what each reading becomes in it, and that other readers of the format agree."""

import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition import Catalog, Exposition
from exporter.reading import Counter, Distribution, Gauge, Histogram, Label, Note, Reading

PLAIN = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kettle(Reading):
    """A reading of every kind of metric."""

    PREFIX = "kettle"
    room: Annotated[str, Label("Where it stands.")]
    lit: Annotated[bool | None, Gauge("Whether it is on.")] = None
    boiled: Annotated[int | None, Counter('Times it boiled, with a "quote", a \\ and\na second line.')] = None
    clicks: Annotated[Mapping[str, float] | None, Counter("Clicks of a switch.", by="switch")] = None
    heat_joules: Annotated[Mapping[tuple[str, str], float] | None, Gauge("Heat.", by=("water", "air"))] = None
    wait_seconds: Annotated[Distribution | None, Histogram("How long one waits for tea.")] = None
    owner: Annotated[str, Note("Who bought it.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class House(Reading):
    """A reading without labels."""

    PREFIX = "house"
    rooms: Annotated[int, Gauge("Rooms.")]


CATALOG = Catalog((Kettle, House))
KITCHEN = (Kettle(room="kitchen", lit=True, boiled=7), House(rooms=3))


def page(*readings: Reading, accept: str = PLAIN) -> str:
    body, _ = Exposition(CATALOG, lambda: readings).page(accept)
    return body.decode()


def ours(text: str) -> str:
    """The page without what prometheus_client says of the process."""
    return text.partition("# HELP p")[0]


def test_a_value_that_could_not_be_told_has_no_sample() -> None:
    assert ours(page(Kettle(room="kitchen"))) == ""


def test_a_truth_is_0_or_1() -> None:
    text = page(Kettle(room="kitchen", lit=True), Kettle(room="hall", lit=False))

    assert ours(text) == (
        "# HELP kettle_lit Whether it is on.\n"
        "# TYPE kettle_lit gauge\n"
        'kettle_lit{room="kitchen"} 1.0\n'
        'kettle_lit{room="hall"} 0.0\n'
    )


def test_an_empty_label_is_left_out() -> None:
    assert "kettle_lit 1.0\n" in page(Kettle(room="", lit=True))


def test_a_note_is_not_published() -> None:
    assert "owner" not in page(Kettle(room="kitchen", lit=True, owner="Ada"))


def test_the_buckets_of_a_histogram_add_up() -> None:
    waits = Distribution.over((1.0, 60.0)).plus(0.5).plus(1.0).plus(30.0).plus(100.0)

    text = page(Kettle(room="kitchen", wait_seconds=waits))

    assert ours(text).splitlines()[2:] == [
        'kettle_wait_seconds_bucket{le="1.0",room="kitchen"} 2.0',
        'kettle_wait_seconds_bucket{le="60.0",room="kitchen"} 3.0',
        'kettle_wait_seconds_bucket{le="+Inf",room="kitchen"} 4.0',
        'kettle_wait_seconds_count{room="kitchen"} 4.0',
        'kettle_wait_seconds_sum{room="kitchen"} 131.5',
    ]


def test_two_kinds_of_reading_cannot_publish_one_metric() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Shed(Reading):
        PREFIX = "house"
        rooms: Annotated[int, Gauge("Rooms of another kind.")]

    with pytest.raises(TypeError, match="house_rooms"):
        Catalog((House, Shed))


def test_a_field_that_declares_nothing_fails_when_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"Forgotten\.what"):

        class Forgotten(Reading):
            PREFIX = "forgotten"
            what: int


def test_a_snapshot_that_has_not_changed_is_the_same_page_byte_for_byte() -> None:
    readings = [Kettle(room="kitchen", lit=True)]
    exposition = Exposition(CATALOG, lambda: tuple(readings))

    first, _ = exposition.page(PLAIN)
    again, _ = exposition.page(PLAIN)

    assert again is first


def test_a_changed_reading_changes_the_page_and_leaves_the_others() -> None:
    kitchen, hall = Kettle(room="kitchen", boiled=1), Kettle(room="hall", boiled=5)
    readings = [kitchen, hall]
    exposition = Exposition(CATALOG, lambda: tuple(readings))
    exposition.page(PLAIN)

    readings[0] = replace(kitchen, boiled=2)
    text = exposition.page(PLAIN)[0].decode()

    assert 'kettle_boiled_total{room="kitchen"} 2.0' in text
    assert 'kettle_boiled_total{room="hall"} 5.0' in text


numbers = st.floats(allow_nan=False) | st.integers(min_value=-(2**60), max_value=2**60)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
counts = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
waits = st.lists(st.floats(min_value=0, max_value=100), max_size=5)


def spread(observed: list[float]) -> Distribution:
    whole = Distribution.over((0.05, 1.0, 10.0))
    for seconds in observed:
        whole = whole.plus(seconds)
    return whole


kettles = st.builds(
    Kettle,
    room=texts,
    lit=st.none() | st.booleans(),
    boiled=st.none() | st.integers(min_value=0, max_value=2**53),
    clicks=st.none() | st.dictionaries(texts.filter(bool), counts, max_size=3),
    heat_joules=st.none() | st.dictionaries(st.tuples(texts.filter(bool), texts.filter(bool)), numbers, max_size=3),
    wait_seconds=st.none() | st.builds(spread, waits),
)


class Parsed(CollectorRegistry):
    """Families that a parser read, for prometheus_client to write again."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


@pytest.mark.parametrize(
    ("accept", "parse"), [(PLAIN, text_string_to_metric_families), (OPENMETRICS, openmetrics_families)]
)
@given(readings=st.lists(kettles, max_size=3, unique_by=lambda kettle: kettle.room))
def test_prometheus_client_reads_the_page_and_writes_it_again_byte_for_byte(accept, parse, readings) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  hypothesis fills them
    text = page(*readings, House(rooms=3), accept=accept)

    encode, _ = choose_encoder(accept)
    written = encode(Parsed(list(parse(text)))).decode()

    assert written == text


def test_who_has_no_wish_gets_what_prometheus_client_would_give() -> None:
    _, wanted = choose_encoder("")

    _, given = Exposition(Catalog((Kettle,)), lambda: ()).page("")

    assert given == wanted


def test_not_a_number_and_infinities_are_written_as_prometheus_reads_them() -> None:
    heat = {("tap", "cold"): math.nan, ("tap", "hot"): math.inf, ("can", "cold"): -math.inf}

    text = page(Kettle(room="kitchen", heat_joules=heat))

    assert [line.rpartition(" ")[2] for line in ours(text).splitlines()[2:]] == ["NaN", "+Inf", "-Inf"]


def test_openmetrics_ends_with_its_mark() -> None:
    assert page(House(rooms=1), accept=OPENMETRICS).endswith("\n# EOF\n")


def test_labels_may_hold_what_means_something_to_python() -> None:
    clicks = {"%s": 1.0, "100 %": 2.0}

    text = page(Kettle(room="%d{0}", clicks=clicks))

    assert ours(text).splitlines()[2:] == [
        'kettle_clicks_total{room="%d{0}",switch="%s"} 1.0',
        'kettle_clicks_total{room="%d{0}",switch="100 %"} 2.0',
    ]


def test_a_ladder_of_other_edges_is_told_by_its_own() -> None:
    readings = [Kettle(room="kitchen", wait_seconds=Distribution.over((1.0, 2.0)))]
    exposition = Exposition(CATALOG, lambda: tuple(readings))
    exposition.page(PLAIN)

    readings[0] = replace(readings[0], wait_seconds=Distribution.over((5.0,)))
    text = exposition.page(PLAIN)[0].decode()

    assert 'le="5.0"' in text
    assert 'le="2.0"' not in text


def test_keys_that_come_and_go_are_told_while_they_are_there() -> None:
    readings = [Kettle(room="kitchen", clicks={"left": 1.0})]
    exposition = Exposition(CATALOG, lambda: tuple(readings))
    exposition.page(PLAIN)

    readings[0] = replace(readings[0], clicks={"right": 2.0})
    text = exposition.page(PLAIN)[0].decode()

    assert 'switch="right"} 2.0' in text
    assert "left" not in text


def test_a_gzipped_page_is_the_same_page() -> None:
    exposition = Exposition(CATALOG, lambda: KITCHEN)

    packed, _ = exposition.page(OPENMETRICS, gzipped=True)
    body, _ = exposition.page(OPENMETRICS)

    assert ours(gzip.decompress(packed).decode()) == ours(body.decode())


def test_a_page_is_packed_once_however_many_ask() -> None:
    exposition = Exposition(CATALOG, lambda: KITCHEN)

    first, _ = exposition.page(PLAIN, gzipped=True)
    again, _ = exposition.page(PLAIN, gzipped=True)

    assert again is first
