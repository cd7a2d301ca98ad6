from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Annotated

import pytest

from exporter.page import page
from exporter.reading import Counter, Distribution, Gauge, Histogram, Label, Note, Reading
from exporter.watch import Collection
from exporter.wire import Failed, Failure, Outcome

NOW = 1_800_000_000.0
VOID = {"meta"}


def ended(failed: Failed) -> Outcome:
    return Outcome(failed=failed, began=0.0, ended=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers(Reading):
    PREFIX = "model_probe"
    target: Annotated[str, Label("The service.")]
    up: Annotated[bool | None, Gauge("Whether it answers.")] = None
    last_first_token_seconds: Annotated[float | None, Gauge("Until the first token.")] = None
    tokens_per_second: Annotated[float | None, Gauge("Pace.")] = None
    last_success_timestamp_seconds: Annotated[float | None, Gauge("When it last answered.")] = None
    answer_bytes: Annotated[int | None, Gauge("Size.")] = None
    attempts: Annotated[int, Counter("Asked.")] = 0
    failures: Annotated[Mapping[str, int], Counter("Not answered.", by="reason")] = field(default_factory=dict)
    state: Annotated[Mapping[str, bool], Gauge("What is so.", by="state")] = field(default_factory=dict)
    duration_seconds: Annotated[Distribution | None, Histogram("How long.")] = None
    last: Annotated[Outcome | None, Note("Why.")] = None
    asking: Annotated[bool, Note("For the verdict.", shown=False)] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Reading):
    PREFIX = "model"
    target: Annotated[str, Label("The service.")]
    engine: Annotated[str, Label("What serves it.")]
    info: Annotated[int, Gauge("Always 1.")] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu(Reading):
    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index.")]
    uuid: Annotated[str, Label("UUID.")]
    utilization_ratio: Annotated[float | None, Gauge("Busy.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk(Reading):
    PREFIX = "host_disk"
    device: Annotated[str, Label("Name.")]
    free_bytes: Annotated[int, Gauge("Room.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board(Reading):
    PREFIX = "board"
    start_timestamp_seconds: Annotated[float | None, Gauge("x")] = None
    last_seconds: Annotated[float | None, Gauge("x")] = None
    size_bytes: Annotated[int | None, Gauge("x")] = None
    busy_ratio: Annotated[float | None, Gauge("x")] = None
    tokens_per_second: Annotated[float | None, Gauge("x")] = None
    heat_celsius: Annotated[int | None, Gauge("x")] = None
    power_watts: Annotated[float | None, Gauge("x")] = None
    energy_joules: Annotated[float | None, Gauge("x")] = None
    clock_hertz: Annotated[float | None, Gauge("x")] = None
    fans: Annotated[int | None, Gauge("x")] = None
    pending: Annotated[bool | None, Gauge("x")] = None


class Seen(HTMLParser):
    """What a browser makes of a page: its elements, its tables' rows, and its lists' pairs."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.pairs: dict[str, str] = {}
        self.words: list[str] = []
        self._term = ""
        self.feed(text.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        match self.open:
            case [*_, "td" | "th"]:
                self.rows[-1][-1] += text
            case [*_, "dt"]:
                self._term = text
            case [*_, "dd"]:
                self.pairs[self._term] = text
            case [*_, str()]:
                self.words.append(text)


def seen(*readings: Reading, links: Mapping[str, str] | None = None) -> Seen:
    return Seen(page(readings, now=NOW, links=links or {}))


def test_a_service_is_one_row_of_what_all_its_readings_say() -> None:
    shown = seen(
        Service(target="chat", engine="vllm"),
        Answers(target="chat", up=True, last_first_token_seconds=0.0924, tokens_per_second=58.21),
    )

    assert shown.rows == [
        ["", "probe", "model"],
        ["", "up", "last first token", "tokens", "engine"],
        ["chat", "up", "92.4 ms", "58.2 /s", "vllm"],
    ]


def test_the_first_gauges_of_a_reading_are_in_the_table_and_the_rest_beneath_it() -> None:
    shown = seen(
        Answers(
            target="chat",
            up=True,
            last_first_token_seconds=1,
            tokens_per_second=2,
            last_success_timestamp_seconds=NOW,
            answer_bytes=70,
            attempts=3,
            failures={"refused": 2, "timeout": 0},
            state={"ok": True, "hung": False},
            duration_seconds=Distribution.over((1.0,)).plus(2).plus(4),
        )
    )

    assert shown.rows[1] == ["", "up", "last first token", "tokens", "last success"]
    assert (
        shown.pairs.items()
        >= {
            "answer": "70 B",
            "attempts": "3",
            "failures": "refused 2",
            "state": "ok",
            "duration": "3 s mean of 2",
        }.items()
    )


def test_a_help_text_is_the_tooltip_of_its_column() -> None:
    shown = seen(Answers(target="chat", up=True))

    assert ("th", {"title": "Whether it answers."}) in shown.elements


def test_a_note_is_in_the_table_however_late_it_is_declared() -> None:
    shown = seen(Answers(target="chat", up=False, last=ended(Failed(Failure.REFUSED, "port 8000"))))

    assert shown.rows[-1] == ["chat", "down", "refused (port 8000)"]


def test_what_is_not_known_of_one_service_leaves_its_cell_empty() -> None:
    shown = seen(Answers(target="chat", tokens_per_second=5), Answers(target="images", up=True))

    assert shown.rows[1:] == [["", "up", "tokens"], ["chat", "", "5 /s"], ["images", "up", ""]]


def test_services_that_are_down_come_first() -> None:
    shown = seen(*(Answers(target=name, up=name != "c") for name in "abcd"))

    assert [row[0] for row in shown.rows[2:]] == ["c", "a", "b", "d"]


def test_a_hundred_services_are_a_hundred_rows() -> None:
    shown = seen(*(Answers(target=f"service-{number}", up=True) for number in range(100)))

    assert len(shown.rows) == 102


def test_gpus_are_a_table_of_their_own() -> None:
    shown = seen(Gpu(gpu="0", uuid="GPU-a", utilization_ratio=0.875), Gpu(gpu="1", uuid="GPU-b", utilization_ratio=0))

    assert shown.rows == [["", "gpu"], ["", "utilization"], ["0", "87.5 %"], ["1", "0 %"]]


def test_a_source_is_shown_with_its_age() -> None:
    shown = seen(
        Collection(source="gpu", up=False, duration_seconds=0.002, last_success_timestamp_seconds=NOW - 90),
        Collection(source="health", target="chat"),
    )

    assert shown.rows[1:] == [
        ["", "up", "duration", "last success"],
        ["gpu", "down", "2 ms", "1.5 min ago"],
        ["health chat", "", "", ""],
    ]


def test_readings_of_one_kind_are_told_apart_by_their_labels() -> None:
    one = seen(Disk(device="sda", free_bytes=2**30))
    two = seen(Disk(device="sda", free_bytes=2**30), Disk(device="sdb", free_bytes=2**31))

    assert one.pairs == {"free": "1 GiB"}
    assert two.pairs == {"free": "sda 1 GiB, sdb 2 GiB"}


@pytest.mark.parametrize(
    ("reading", "text"),
    [
        (Board(start_timestamp_seconds=NOW - 3), "3 s ago"),
        (Board(start_timestamp_seconds=NOW + 86400 * 12), "in 12 d"),
        (Board(last_seconds=0), "0 µs"),
        (Board(last_seconds=0.9996), "1000 ms"),
        (Board(last_seconds=5400), "1.5 h"),
        (Board(size_bytes=0), "0 B"),
        (Board(size_bytes=80 * 2**30), "80 GiB"),
        (Board(busy_ratio=0.98765), "98.8 %"),
        (Board(tokens_per_second=1234.5), "1234 /s"),
        (Board(heat_celsius=-5), "-5 °C"),
        (Board(power_watts=612.4), "612 W"),
        (Board(energy_joules=3.6e6), "3.6 MJ"),
        (Board(clock_hertz=1.98e9), "1.98 GHz"),
        (Board(fans=4), "4"),
        (Board(pending=False), "no"),
    ],
)
def test_a_value_is_written_in_its_unit(reading: Reading, text: str) -> None:
    assert list(seen(reading).pairs.values()) == [text]


def test_what_is_not_there_is_said_not_to_be() -> None:
    shown = seen()

    assert shown.words.count("None.") == 4


def test_links_lead_where_they_say() -> None:
    shown = seen(links={"Metrics": "/metrics"})

    assert ("a", {"href": "/metrics"}) in shown.elements
    assert "Metrics" in shown.words


def test_whatever_a_service_says_is_text() -> None:
    plain = seen(
        Service(target="a", engine="b"), Answers(target="a", last=ended(Failed(Failure.EMPTY, "c"))), links={"d": "e"}
    )

    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\ud800'
    shown = seen(
        Service(target=evil, engine=evil),
        Answers(target=evil, last=ended(Failed(Failure.EMPTY, evil))),
        links={evil: evil},
    )

    assert [tag for tag, _ in shown.elements] == [tag for tag, _ in plain.elements]
    assert {name for _, attributes in shown.elements for name in attributes} <= {
        *("charset", "content", "name", "http-equiv", "lang", "href", "class", "title", "colspan")
    }
    assert evil.replace("\ud800", "?") in shown.rows[-1]


def test_nothing_is_run_or_loaded_from_elsewhere() -> None:
    text = page([Answers(target="chat", up=True)], now=NOW, links={}).decode()

    assert not any(word in text for word in ("<script", "<link", "<img", "@import", "url(", "//", "src="))
    assert "default-src 'none';style-src 'unsafe-inline'" in text
