"""A hundred services beside one program: a third hang, a third never end, a third talk nonsense, ten are well."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from exporter.ask import Limits, ask
from exporter.normal import SERIES_LIMIT
from exporter.protocols import PROTOCOLS
from exporter.response import TURN
from exporter.sources.server import ServerMetrics, Whereabouts
from exporter.wire import Prompt
from tests.daemon import PATIENCE, Page, started
from tests.fleet import expected, names, played, settings
from tests.services.client import client
from tests.services.openai import piece
from tests.services.scripted import Stage
from tests.sources.looks import looked
from tests.sources.looks import page as page_of

CREWS = {"healthy": 10, "hanging": 30, "endless": 30, "nonsense": 30}
MOST_FILES = 20 + sum(CREWS.values())
MOST_MEMORY = 400 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The page once each of a hundred services has answered, and the log by then."""

    page: Page
    log: str


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """One program beside all of them."""
    with ExitStack() as stack:
        crews = [stack.enter_context(played(crew, share)) for crew, share in CREWS.items()]
        # In no order of theirs, since the turns of all are spread over each round in the order of the targets.
        places = dict(sorted((place for crew in crews for place in crew.items()), key=lambda place: place[0][::-1]))
        with started(tmp_path_factory.mktemp("crowd"), settings(places)) as daemon:
            page = daemon.until(_settled)
            yield Crowd(page=page, log=daemon.log)


def _settled(page: Page) -> bool:
    answered = len(page.samples("model_probe_up")) == sum(CREWS.values())
    return answered and all(page.succeeded(name) > 1 for name in names("healthy", CREWS["healthy"]))


def test_the_healthy_ones_are_answered_for_among_ninety_that_are_not(crowd: Crowd) -> None:
    healthy = names("healthy", CREWS["healthy"])

    assert {name: crowd.page.failures(name) for name in healthy if crowd.page.failures(name)} == {}
    assert {name for name, up in crowd.page.by("target", "model_probe_up").items() if up} == set(healthy)


@pytest.mark.parametrize("crew", ["hanging", "nonsense"])
def test_each_of_a_crowd_fails_by_its_own_reason(crew: str, crowd: Crowd) -> None:
    failures = {name: set(crowd.page.failures(name)) for name in names(crew, CREWS[crew])}

    assert failures == {name: {expected(name)} for name in failures}


def test_what_never_ends_is_ended_by_its_size_or_by_its_time(crowd: Crowd) -> None:
    failures = {name: set(crowd.page.failures(name)) for name in names("endless", CREWS["endless"])}
    late = {"timeout_first_token", "timeout_stall", "timeout_total"}

    assert {name: reasons for name, reasons in failures.items() if not reasons} == {}
    assert {name: reasons for name, reasons in failures.items() if reasons - late - {expected(name)}} == {}


def test_a_crowd_takes_a_bounded_number_of_files_and_of_bytes(crowd: Crowd) -> None:
    assert (crowd.page.value("process_open_fds") or 0) <= MOST_FILES
    assert (crowd.page.value("process_resident_memory_bytes") or 0) <= MOST_MEMORY


def test_nothing_that_a_crowd_does_is_a_failure_to_look(crowd: Crowd) -> None:
    assert crowd.page.by("target", "model_sidecar_collection_failures_total") == {}
    assert "Traceback" not in crowd.log


ENDLESS = (piece(content="word ") * 400, piece(content="word " * 4000) * 3, b"\n" * 65536, b": ping\n\n" * 8192)
READERS = 30


@dataclass(frozen=True, slots=True)
class Endless(httpx.AsyncByteStream):
    """A body that has no end and is always there."""

    piece: bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self.piece


async def reading(body: bytes) -> None:
    """Ask for ever what answers with this for ever."""
    sse = {"Content-Type": "text/event-stream"}
    answered = httpx.MockTransport(lambda _: httpx.Response(200, headers=sse, stream=Endless(body)))
    async with httpx.AsyncClient(transport=answered, base_url="http://service") as client:
        while True:
            await ask(
                PROTOCOLS["openai-chat"],
                client,
                Prompt(text="x", model="m"),
                Limits(first_token=60, stall=60, total=60),
            )


def test_of_many_endless_answers_one_at_a_time_is_read() -> None:
    turns: list[float] = []

    async def life() -> None:
        readers = [asyncio.create_task(reading(ENDLESS[number % len(ENDLESS)])) for number in range(READERS)]
        await asyncio.sleep(0.5)
        end = time.perf_counter() + 3
        while time.perf_counter() < end:
            # Of the work done, not of the time gone by, since the machine may be at work for others.
            began = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - began)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    asyncio.run(life())

    long = sorted(turn for turn in turns if turn > TURN / 2)
    assert long
    assert long[len(long) // 2] < READERS * TURN / 2


def models(number: int) -> str:
    """A page of a server of so many models."""
    lines = (f'vllm:num_requests_running{{model_name="model-{each}"}} 1\n' for each in range(number))
    return "".join(lines)


@pytest.mark.parametrize("number", [2_000, 10_000])
def test_a_service_that_tells_of_thousands_of_models_stays_within_its_share(number: int, stage: Stage) -> None:
    service = stage.serve({"GET /metrics": page_of(models(number))})

    [first, second] = looked(service, "vllm", times=2)

    assert len(first) <= SERIES_LIMIT + 1
    assert first.keys() == second.keys()


LONGEST = (
    0.03  # Seconds of work in one turn of the loop; what is read and added up of such a page takes ten times that.
)


@pytest.mark.parametrize("times", [1, 4], ids=["read here", "read apart"])
def test_what_a_service_tells_of_thousands_of_models_is_added_up_off_the_loop(times: int, stage: Stage) -> None:
    service = stage.serve({"GET /metrics": page_of(models(4_800) + "# and more than that\n" * (times - 1) * 5_000)})
    turns: list[float] = []

    async def others() -> None:
        while True:
            # Of the work done on the loop, not of the time gone by, since the machine may be at work for others.
            began = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - began)

    async def life() -> int:
        other = asyncio.create_task(others())
        async with client(service.url) as asking:
            where = Whereabouts(service=service.url)
            source = ServerMetrics(asking, where, target="chat", engine=lambda: "vllm", publish="gauges")
            said = [each async for readings in source.read() for each in readings]
        await asyncio.sleep(0.01)  # The last turn counts too.
        other.cancel()
        return len(said)

    gc.disable()  # Which is the work of whoever left the garbage.
    try:
        assert asyncio.run(life()) > SERIES_LIMIT
    finally:
        gc.enable()
    assert max(turns) < LONGEST


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_thousand_idle_clients_and_ten_that_do_not_read_keep_no_scrape_out(tmp_path: Path, stage: Stage) -> None:
    chat = {"prompt": {"protocol": "openai-chat"}, "gpu": {"enabled": False}, "host": {"enabled": False}}
    targets = [{"name": f"service-{n}", "url": f"http://127.0.0.1:{stage.closed_port()}"} for n in range(40)]
    with started(tmp_path, {"targets": targets, **chat}) as daemon, ExitStack() as crowd:
        daemon.until(lambda page: page.value("model_sidecar_targets") == len(targets))
        place = ("127.0.0.1", httpx.URL(daemon.url).port)
        for _ in range(1000):
            crowd.enter_context(socket.create_connection(place, timeout=PATIENCE))
        for _ in range(10):
            slow = crowd.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(place)
            slow.sendall(GET * 50)
        pages = [daemon.scrape() for _ in range(5)]
        log = daemon.log

    assert [page.value("model_sidecar_targets") for page in pages] == [40] * 5
    assert [line for line in log.splitlines() if "level=error" in line] == []
