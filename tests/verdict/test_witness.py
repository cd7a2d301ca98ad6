"""What else tells whether a service generates: meters, power, and requests beyond our own."""

from dataclasses import replace

import pytest

from exporter.lookup import Lookup
from exporter.sources.process import Process
from exporter.sources.server import Progress, Server
from exporter.verdict.witness import LOOKS, Meter, Power, Witnesses, advancing, read
from tests.lives import gpu

HOUR = 3600.0
WINDOW = 30.0
PATIENCE = 40.0
IDLE = Progress(target="chat")


def looked(witnesses: Witnesses, progress: Progress | None, at: float, *told: Server, ours: int = 0) -> Witnesses:
    return witnesses.looked(progress, told, ours=ours, asking=False, at=at)


def served(*counts: tuple[float, int]) -> list[float | None]:
    """When the requests of others were last seen to move, after each of these: the service's count, and our own."""
    witnesses, moved = Witnesses(), []
    for at, (answered, ours) in enumerate(counts):
        witnesses = looked(witnesses, replace(IDLE, answered=answered), float(at), ours=ours)
        moved.append(None if witnesses.served is None else witnesses.served.moved)
    return moved


# meters


def test_a_figure_that_was_heard_once_has_not_moved() -> None:
    meter = read(None, 7.0, 10.0)

    assert meter == Meter(value=7.0, since=10.0, heard=10.0)
    assert not advancing(meter, 0.0)


def test_a_figure_moves_when_it_changes_and_is_heard_when_it_does_not() -> None:
    moved = read(Meter(value=7.0, since=10.0, heard=10.0), 8.0, 25.0)
    stood = read(moved, 8.0, 40.0)

    assert moved == Meter(value=8.0, since=10.0, heard=25.0, moved=25.0)
    assert stood == Meter(value=8.0, since=10.0, heard=40.0, moved=25.0)


def test_a_figure_that_is_not_told_is_as_it_was_last_heard() -> None:
    meter = Meter(value=7.0, since=10.0, heard=10.0)

    assert read(meter, None, 25.0) is meter
    assert read(None, None, 25.0) is None


@pytest.mark.parametrize(("after", "moving"), [(24.0, True), (25.0, False)])
def test_a_figure_advances_that_has_moved_since(after: float, *, moving: bool) -> None:
    assert advancing(Meter(value=8.0, since=10.0, heard=40.0, moved=25.0), after) is moving


# strong witnesses


def test_what_is_generated_stands_before_what_is_served() -> None:
    witnesses = looked(Witnesses(), replace(IDLE, generating=5.0, answered=9.0), 0.0)

    assert witnesses.strong(0.0, PATIENCE) is witnesses.generating


@pytest.mark.parametrize(("later", "heard"), [(40.0, True), (41.0, False)])
def test_a_witness_is_heard_for_a_while_after_its_last_word(later: float, *, heard: bool) -> None:
    witnesses = looked(Witnesses(), replace(IDLE, generating=5.0), 0.0)

    assert (witnesses.strong(later, PATIENCE) is not None) is heard


@pytest.mark.parametrize(("later", "heard"), [(HOUR, True), (HOUR + 1.0, False)])
def test_a_witness_that_fell_silent_is_heard_for_an_hour(later: float, *, heard: bool) -> None:
    witnesses = looked(Witnesses(), replace(IDLE, generating=5.0), 0.0)

    witnesses = looked(witnesses, Progress(target="chat", silent=True), 15.0)

    assert (witnesses.strong(later, PATIENCE) is not None) is heard
    assert not witnesses.progress(60.0, WINDOW, PATIENCE)


def test_a_witness_that_speaks_again_is_silent_no_more() -> None:
    witnesses = looked(
        looked(Witnesses(), Progress(target="chat", silent=True), 0.0), replace(IDLE, generating=5.0), 15.0
    )

    assert not witnesses.silent


def test_what_has_ended_shows_progress_and_is_no_witness_while_it_stands() -> None:
    witnesses = looked(looked(Witnesses(), replace(IDLE, ended=5.0), 0.0), replace(IDLE, ended=6.0), 15.0)

    assert witnesses.progress(44.0, WINDOW, PATIENCE)
    assert not witnesses.progress(45.0, WINDOW, PATIENCE)
    assert witnesses.strong(15.0, PATIENCE) is None
    assert witnesses.moved == 15.0


def test_prompts_that_are_read_are_no_progress() -> None:
    witnesses = looked(looked(Witnesses(), replace(IDLE, prefilling=5.0), 0.0), replace(IDLE, prefilling=9.0), 15.0)

    assert not witnesses.progress(15.0, WINDOW, PATIENCE)
    assert witnesses.moved is None


# requests beyond our own


def test_requests_of_others_are_progress() -> None:
    assert served((10.0, 0), (12.0, 0)) == [None, 1.0]


def test_our_own_prompts_are_no_progress() -> None:
    begun, ended = (10.0, 1), (11.0, 1)

    assert served((10.0, 0), begun, ended, (11.0, 2), (12.0, 2)) == [None, None, None, None, None]


def test_a_prompt_of_ours_that_is_never_counted_hides_one_of_others_and_no_more() -> None:
    assert served((10.0, 0), (10.0, 1), (11.0, 1), (12.0, 1)) == [None, None, None, 3.0]


def test_a_service_that_began_to_count_anew_is_heard_on() -> None:
    anew = [(float(count), 10) for count in range(3, 3 + 2 * LOOKS)]

    assert served((5_000.0, 10), *anew)[-1] == 2.0 * LOOKS


@pytest.mark.parametrize(
    ("running", "waiting", "asking", "held"),
    [(0.0, 0.0, False, False), (1.0, 0.0, True, False), (1.0, 0.0, False, True), (1.0, 1.0, True, True)],
)
def test_requests_are_held_beyond_our_own(running: float, waiting: float, *, asking: bool, held: bool) -> None:
    told = Server(target="chat", requests_running=running, requests_waiting=waiting)

    witnesses = Witnesses().looked(IDLE, (told,), ours=1, asking=asking, at=0.0)

    assert witnesses.held is held


def test_requests_of_all_its_models_are_held() -> None:
    witnesses = looked(
        Witnesses(), IDLE, 0.0, Server(target="chat", requests_waiting=2.0), Server(target="chat", requests_waiting=3.0)
    )

    assert witnesses.waiting == 5.0


# power


def drawn(*watts: float, limit: float | None = 700.0, apart: float = 60.0) -> Power | None:
    """The power of one GPU that was seen to draw these, one after the other."""
    power = None
    for number, each in enumerate(watts):
        power = Power.of([gpu(each, None, limit)], power, number * apart)
    return power


@pytest.mark.parametrize(
    ("watts", "idle"),
    [
        pytest.param([70.0, 500.0, 160.0], True, id="near the lowest"),
        pytest.param([70.0, 500.0, 165.0], False, id="above 15 % of what lies between"),
        pytest.param([70.0, 500.0], False, id="at work"),
        pytest.param([70.0], False, id="seen once"),
        pytest.param([70.0, 90.0, 70.0], False, id="never seen at work"),
        pytest.param([500.0, 70.0], True, id="lower than ever"),
    ],
)
def test_power_is_idle_near_the_lowest_of_the_day_once_it_was_seen_at_work(watts: list[float], *, idle: bool) -> None:
    power = drawn(*watts)

    assert power is not None
    assert power.idle is idle


def test_power_of_the_day_before_is_forgotten() -> None:
    power = drawn(500.0, *[70.0] * 25, apart=HOUR)

    assert power is not None
    assert not power.idle
    assert len(power.hours) == 24


def test_power_is_that_of_all_gpus_together_and_unknown_where_one_does_not_tell() -> None:
    both = Power.of([gpu(70.0, None), gpu(80.0, None)], None, 0.0)
    one = Power.of([gpu(70.0, None), replace(gpu(80.0, None), power_watts=None)], None, 0.0)

    assert both is not None
    assert (both.watts, both.limit) == (150.0, 1400.0)
    assert one is None


def test_without_gpus_there_is_no_power() -> None:
    assert Power.of([], None, 0.0) is None


def test_where_no_limit_is_told_the_most_that_was_seen_stands_for_it() -> None:
    power = drawn(36.0, 19.0, limit=None)

    assert power is not None
    assert power.limit is None
    assert power.idle


@pytest.mark.parametrize(("busy", "seconds", "long"), [(0.9, 30.0, True), (0.9, 29.0, False), (0.89, 60.0, False)])
def test_a_gpu_is_busy_for_long_that_has_said_so_all_the_while(busy: float, seconds: float, *, long: bool) -> None:
    witnesses = Witnesses().drew([gpu(70.0, busy)], 0.0).drew([gpu(70.0, busy)], seconds)

    assert witnesses.busy_long(seconds) is long


def test_a_gpu_that_rested_in_between_is_not_busy_for_long() -> None:
    witnesses = Witnesses()
    for at, busy in enumerate((1.0, 0.0, 1.0)):
        witnesses = witnesses.drew([gpu(70.0, busy)], 30.0 * at)

    assert not witnesses.busy_long(60.0)


# processor time


def ran(*spent: float | None) -> bool:
    """Whether processes that have spent these seconds of CPU time, as seen every 15 s, compute."""
    witnesses = Witnesses()
    for number, each in enumerate(spent):
        cpu = None if each is None else {"user": each, "system": 0.0}
        process = Process(target="chat", lookup=dict.fromkeys(Lookup, False), up=True, cpu_seconds=cpu)
        witnesses = witnesses.ran(process, 15.0 * number)
    return witnesses.working


@pytest.mark.parametrize(
    ("spent", "working"),
    [
        pytest.param([100.0], False, id="seen once"),
        pytest.param([100.0, 115.0], True, id="one core"),
        pytest.param([100.0, 101.0], False, id="waiting for requests"),
        pytest.param([100.0, 115.0, 115.0], False, id="no longer"),
        pytest.param([100.0, 5.0], False, id="another process"),
        pytest.param([100.0, None, 130.0], True, id="not told in between"),
    ],
)
def test_processes_compute_that_spend_more_than_a_tenth_of_a_core(spent: list[float | None], *, working: bool) -> None:
    assert ran(*spent) is working
