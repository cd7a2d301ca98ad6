"""What the driver tells by itself, heard by the real pynvml from the stand-in for the driver's library."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pynvml
import pytest

from exporter.nvml.events import Event, NvmlEvents, Unheard
from tests.nvml.driver import Driver, require_compiler
from tests.nvml.opened import load

require_compiler()

FIRST = "GPU-00000000-0000-0000-0000-000000000000"
SECOND = "GPU-00000001-0000-0000-0000-000000000001"
UUIDS = (FIRST, SECOND)
LONG = 30.0

Start = Callable[..., Driver]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A driver of two GPUs that the pynvml of this process has loaded."""

    def start(*, lacks: Sequence[str] = (), **said: object) -> Driver:
        driver = Driver(tmp_path, lacks=lacks)
        driver.script({"gpus": 2} | {word.replace("__", "."): value for word, value in said.items()})
        load(driver, monkeypatch)
        return driver

    return start


@pytest.fixture
def events() -> Iterator[NvmlEvents]:
    events = NvmlEvents()
    yield events
    events.close()


def opened(events: NvmlEvents) -> Sequence[bool]:
    """Which of the GPUs are heard of."""
    events.open()
    return [events.register(uuid, index) for index, uuid in enumerate(UUIDS)]


def everything(events: NvmlEvents) -> Iterator[Event]:
    while event := events.next(0):
        yield event


def called(driver: Driver, function: str) -> int:
    return sum(call.function == function for call in driver.calls())


def test_an_xid_is_told_with_the_gpu_it_befell(start: Start, events: NvmlEvents) -> None:
    driver = start()
    both = opened(events)

    driver.script({"xid.1": "1:79"})

    assert both == [True, True]
    assert events.next(LONG) == Event(uuid=SECOND, xid=79)
    assert events.next(0) is None


def test_an_instance_of_mig_has_its_xids_on_its_gpu(start: Start, events: NvmlEvents) -> None:
    driver = start()
    opened(events)

    driver.script({"xid.1": "0:31:5:0"})

    assert events.next(LONG) == Event(uuid=FIRST, xid=31)


def test_a_burst_is_told_one_by_one_and_whole(start: Start, events: NvmlEvents) -> None:
    driver = start()
    opened(events)

    driver.script({f"xid.{number}": f"{number % 2}:31" for number in range(1, 101)})

    assert [event.uuid for event in everything(events)] == [SECOND, FIRST] * 50


def test_a_gpu_that_does_not_answer_any_more_is_still_named(start: Start, events: NvmlEvents) -> None:
    driver = start()
    opened(events)

    driver.script({"xid.1": "1:79", "gpu.1.lost": 1})

    assert events.next(LONG) == Event(uuid=SECOND, xid=79)
    with pytest.raises(Unheard):
        events.next(LONG)


@pytest.mark.parametrize("xid", [1000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF])
def test_an_xid_that_cannot_be_is_not_told(start: Start, events: NvmlEvents, xid: int) -> None:
    driver = start()
    opened(events)

    driver.script({"xid.1": f"0:{xid}", "xid.2": "0:48"})

    assert [events.next(LONG), events.next(LONG)] == [None, Event(uuid=FIRST, xid=48)]


@pytest.mark.parametrize(
    "said",
    [
        {"gpu.1.events": 0},
        {"gpu.1.events": "N/A"},
        {"gpu.1.events": 0x17},
        {"gpu.1.lost": 1},
        {"gpu.1.uuid": "GPU-another"},
        {"result.1.nvmlDeviceRegisterEvents": 4},
        {"result.1.nvmlDeviceGetSupportedEventTypes": 999},
        {"result.1.nvmlDeviceGetUUID": 4},
    ],
    ids=str,
)
def test_a_gpu_that_cannot_be_watched_leaves_the_others_heard(
    start: Start, events: NvmlEvents, said: dict[str, object]
) -> None:
    driver = start()
    driver.script(said)
    watched = opened(events)

    driver.script({"xid.1": "0:48"})

    assert watched == [True, False]
    assert events.next(LONG) == Event(uuid=FIRST, xid=48)


@pytest.mark.parametrize(
    "lacked", ["nvmlEventSetCreate", "nvmlEventSetWait_v2", "nvmlDeviceRegisterEvents", "nvmlInitWithFlags"]
)
def test_a_library_without_events_is_unheard_and_let_go_of(start: Start, events: NvmlEvents, lacked: str) -> None:
    driver = start(lacks=[lacked])

    with suppress(Unheard):
        opened(events)
    with pytest.raises(Unheard):
        events.next(0)
    events.close()

    assert called(driver, "nvmlInitWithFlags") == called(driver, "nvmlShutdown")


@pytest.mark.parametrize("code", [1, 6, 15, 999])
def test_a_wait_that_fails_is_unheard(start: Start, events: NvmlEvents, code: int) -> None:
    driver = start()
    opened(events)

    driver.script({"result.nvmlEventSetWait_v2": code})

    with pytest.raises(Unheard):
        events.next(LONG)


def test_what_is_closed_is_unheard(start: Start, events: NvmlEvents) -> None:
    start()
    opened(events)

    events.close()

    with pytest.raises(Unheard):
        events.next(LONG)


def test_the_set_is_freed_before_the_library_is_let_go_of_and_whoever_else_holds_it_keeps_it(
    start: Start, events: NvmlEvents
) -> None:
    driver = start()
    pynvml.nvmlInitWithFlags(0)
    opened(events)
    driver.forget_calls()

    events.close()
    events.close()

    assert [call.function for call in driver.calls()] == ["nvmlEventSetFree", "nvmlShutdown"]
    assert pynvml.nvmlDeviceGetCount() == 2


def test_a_driver_that_was_loaded_anew_is_heard_once_it_is_opened_again(start: Start, events: NvmlEvents) -> None:
    driver = start()
    opened(events)
    driver.script({"driver.generation": 2})

    with pytest.raises(Unheard):
        events.next(LONG)
    again = opened(events)
    driver.script({"xid.1": "0:119"})

    assert again == [True, True]
    assert events.next(LONG) == Event(uuid=FIRST, xid=119)
