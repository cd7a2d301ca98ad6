"""Whatever a reading or an event holds: a page that prometheus_client would have written, one line in the log."""

import json
import logging
import math
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from exporter.exposition import Exposition
from exporter.log import FORMS
from exporter.page import page
from exporter.reading import Counter, Distribution, Label, Note, Reading, declarations
from exporter.services import CATALOG

ACCEPTS: Mapping[str, Callable[[str], Iterable[Metric]]] = {
    "text/plain": plain,
    "application/openmetrics-text;version=1.0.0": openmetrics,
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(['"', "\\n", "\\", "\n", "<b>"])
GAUGES = st.floats(allow_nan=False) | st.integers(-(2**60), 2**60)
COUNTS = st.floats(min_value=0, allow_nan=False, allow_infinity=False) | st.integers(0, 2**60)
WAITS = st.lists(st.floats(min_value=0, max_value=100), max_size=5)


def spread(observed: list[float]) -> Distribution:
    """How these are distributed."""
    whole = Distribution.over((0.05, 1.0, 10.0))
    for seconds in observed:
        whole = whole.plus(seconds)
    return whole


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Any reading of any kind that is published."""
    kind = draw(st.sampled_from(list(CATALOG.columns)))
    hints = get_type_hints(kind, include_extras=True)
    drawn = {name: draw(_value(hints[name], declared)) for name, declared in declarations(kind).items()}
    return kind(**drawn)


def _value(hint: Any, declared: object) -> st.SearchStrategy[Any]:  # noqa: ANN401  a type hint has no narrower type
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    options = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
    absent = st.none() if types.NoneType in options else st.nothing()
    if isinstance(declared, Note):
        return st.just(frozenset()) if frozenset[int] in options else absent | _noted(options)
    if isinstance(declared, Label):
        return TEXTS
    return absent | _measured(options, COUNTS if isinstance(declared, Counter) else GAUGES, declared)


def _noted(options: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if str in options:
        return TEXTS
    return st.booleans() if bool in options else st.nothing()


def _measured(options: tuple[Any, ...], numbers: st.SearchStrategy[Any], declared: object) -> st.SearchStrategy[Any]:
    by = getattr(declared, "by", ())
    if Distribution in options:
        return st.builds(spread, WAITS)
    if not by:
        return numbers
    keys = TEXTS if isinstance(by, str) else st.tuples(*[TEXTS.filter(bool)] * len(by))
    return st.dictionaries(keys.filter(bool), numbers, max_size=3)


class Parsed(CollectorRegistry):
    """Families that a parser read, for prometheus_client to write again."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def ours(text: str) -> Iterator[str]:
    """The lines about what was read, without those of the exporter's own process."""
    own = ("process_", "python_", "# EOF")
    return (
        line for line in text.splitlines() if not line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(own)
    )


@pytest.mark.parametrize("accept", ACCEPTS)
@settings(deadline=None, max_examples=50)
@given(reading=readings())
def test_any_reading_is_written_as_prometheus_client_would(accept: str, reading: Reading) -> None:
    body, content_type = Exposition(CATALOG, lambda: (reading,)).page(accept)

    encode, again = choose_encoder(accept)
    written = encode(Parsed(list(ACCEPTS[accept](body.decode())))).decode()

    assert content_type == again
    assert list(ours(written)) == list(ours(body.decode()))


class Elements(HTMLParser):
    """The kinds of element in a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.kinds: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


@settings(deadline=None, max_examples=50)
@given(told=st.lists(readings(), max_size=4))
def test_any_readings_have_a_page_on_which_nothing_is_mark_up(told: list[Reading]) -> None:
    text = page(told, now=time.time(), links={}).decode()

    assert not Elements(text).kinds & {"b", "script", "img", "iframe"}


SAYABLE = TEXTS | st.text(max_size=20) | st.floats() | st.integers() | st.none() | st.booleans() | st.binary(max_size=5)


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=50)
@given(said=SAYABLE, beside=st.dictionaries(st.text("abcxyz_", min_size=1, max_size=6), SAYABLE, max_size=3))
def test_any_event_is_one_line_that_can_be_read(form: str, said: object, beside: Mapping[str, object]) -> None:
    record = logging.LogRecord("exporter.fuzz", logging.INFO, "file", 1, "%s", (said,), None)
    vars(record).update({f"x_{name}": value for name, value in beside.items()})

    line = FORMS[form]().format(record)

    assert len(line.splitlines()) == 1
    line.encode()
    if form == "json":
        assert isinstance(json.loads(line), dict)


def test_a_number_that_is_none_is_written_in_json_that_every_reader_takes() -> None:
    record = logging.LogRecord("exporter.fuzz", logging.INFO, "file", 1, "x", (), None)
    vars(record).update(load=math.nan)

    assert json.loads(FORMS["json"]().format(record), parse_constant=pytest.fail)["load"] == "nan"
