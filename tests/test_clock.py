"""The network under httpx: its phases one by one, its stamps, and how it ends."""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from threading import Event

import httpcore
import httpx
import pytest

from exporter.clock import Flight
from exporter.wire import FAULTS, Failure, failed
from tests.services.client import client
from tests.services.scripted import FOREVER, Answer, Request, Stage, Step, head, reply, script

CERTIFICATE = Path(__file__).parent / "services" / "self-signed.pem"
LONG = head(200, "Content-Length: 1000000")


def own() -> ssl.SSLContext:
    """What a service with a certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def trusting() -> ssl.SSLContext:
    """What a client that trusts that certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATE)
    return context


@asynccontextmanager
async def asked(
    url: str, flight: Flight, tls: ssl.SSLContext | None = None, server_name: str | None = None
) -> AsyncGenerator[httpx.Response, None]:
    """The response to one request, its body unread."""
    async with asyncio.timeout(10), client(url, tls, server_name=server_name) as asking:
        request = asking.build_request("POST", "/ask", content=b"hello")
        request.extensions["trace"] = flight.trace
        response = await asking.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()


async def flown(url: str, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> Flight:
    """What a request lived through whose answer was read to its end."""
    flight = Flight()
    async with asked(url, flight, tls, server_name) as response:
        async for _chunk in response.aiter_raw():
            pass
    return flight


def test_the_phases_of_a_request_follow_one_another(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(0.05, head(200, "Content-Length: 4"), 0.1, b"four")})

    flight = asyncio.run(flown(service.url))

    spent = flight.phases(flight.arrived())
    assert list(spent) == ["resolve", "connect", "send", "wait", "stream"]
    assert min(spent.values()) >= 0
    assert sum(spent.values()) == pytest.approx(flight.arrived() - flight.began)
    assert spent["wait"] >= 0.04
    assert spent["stream"] >= 0.09


def test_a_handshake_is_a_phase_of_its_own(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")}, tls=own())

    flight = asyncio.run(flown(service.url, trusting()))

    spent = flight.phases(flight.arrived())
    assert list(spent) == ["resolve", "connect", "tls", "send", "wait", "stream"]
    assert spent["tls"] > 0


def test_a_phase_that_was_not_reached_is_not_told(stage: Stage) -> None:
    flight = Flight()

    async def torn() -> None:
        async with asked(f"http://127.0.0.1:{stage.closed_port()}", flight):
            pass

    with pytest.raises(httpcore.ConnectError):
        asyncio.run(torn())

    assert flight.phases(time.perf_counter()) == {}


def test_a_name_with_several_addresses_is_found_at_the_one_that_answers(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")})

    flight = asyncio.run(flown(service.url.replace("127.0.0.1", "localhost")))

    assert flight.headed is not None


def test_a_stamp_is_of_the_arrival_and_not_of_the_reading(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(LONG, b"one", 0.05, b"two", FOREVER)})

    async def read_late() -> tuple[float, float, float]:
        flight = Flight()
        async with asked(service.url, flight) as response:
            reads = response.aiter_raw()
            await anext(reads)
            first = flight.arrived()
            await asyncio.sleep(0.3)
            woke = time.perf_counter()
            await anext(reads)
            return first, flight.arrived(), woke

    first, second, woke = asyncio.run(read_late())

    assert first < second < woke


def test_what_one_read_of_the_socket_brought_has_one_stamp(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(LONG, 0.05, b"x" * 1000, FOREVER)})

    async def in_parts() -> set[float]:
        flight = Flight()
        async with asked(service.url, flight):
            stream = flight.stream
            assert stream is not None
            stamps = set()
            for _ in range(4):
                await stream.read(250)
                stamps.add(stream.stamp)
            return stamps

    assert len(asyncio.run(in_parts())) == 1


MUCH = 2**26


class Outpouring:
    """An answer that is long, and counts what it has said of it."""

    def __init__(self) -> None:
        self.said = 0

    def __call__(self, _request: Request) -> Iterator[Step]:
        yield head(200, f"Content-Length: {MUCH}")
        for piece in repeat(b"x" * 65536, MUCH // 65536):
            self.said += len(piece)
            yield piece


def test_a_service_that_says_more_than_is_read_is_held_back(stage: Stage) -> None:
    pouring = Outpouring()
    service = stage.serve({"POST /ask": pouring})

    async def read_nothing_and_then_all() -> tuple[int, int]:
        async with asked(service.url, Flight()) as response:
            held: list[int] = []
            while not pouring.said or held[-3:] != [pouring.said] * 3:
                held.append(pouring.said)
                await asyncio.sleep(0.1)
            return held[-1], sum([len(chunk) async for chunk in response.aiter_raw()])

    held, read = asyncio.run(read_nothing_and_then_all())

    assert held < MUCH
    assert read == MUCH


def leaving(steps: Answer, left: Event) -> Answer:
    """The same answer; the event is set when its connection is no more."""

    def answer(request: Request) -> Iterator[Step]:
        try:
            yield from steps(request)
            yield FOREVER
        finally:
            left.set()

    return answer


def test_a_connection_is_closed_as_soon_as_its_answer_is_read(stage: Stage) -> None:
    left = Event()
    service = stage.serve({"POST /ask": leaving(script(head(200, "Content-Length: 4"), b"four"), left)})

    async def left_while_the_client_stays() -> bool:
        async with client(service.url) as asking:
            await asking.post("/ask")
            return await asyncio.to_thread(left.wait, 5)

    assert asyncio.run(left_while_the_client_stays())


def test_a_connection_is_closed_when_its_answer_is_given_up(stage: Stage) -> None:
    left = Event()
    service = stage.serve({"POST /ask": leaving(script(LONG, b"four"), left)})

    async def give_up() -> None:
        async with asked(service.url, Flight()) as response:
            await anext(response.aiter_raw())

    asyncio.run(give_up())

    assert left.wait(5)


def test_each_request_has_a_connection_of_its_own(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(head(200, "Content-Length: 4"), b"four", FOREVER)})

    async def twice() -> tuple[Flight, Flight]:
        async with asyncio.timeout(10), client(service.url) as asking:
            flights = Flight(), Flight()
            for flight in flights:
                await asking.post("/ask", extensions={"trace": flight.trace})
            return flights

    flights = asyncio.run(twice())

    assert len({flight.stream for flight in flights}) == 2
    assert all("connect" in flight.phases(flight.arrived()) for flight in flights)


def fault(work: Callable[[], Flight]) -> Failure:
    try:
        work()
    except FAULTS as error:
        return failed(error).failure
    raise AssertionError("it did not fail")


def test_the_name_on_the_certificate_may_be_another_than_that_of_the_address(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")}, tls=own())

    flight = asyncio.run(flown(service.url, trusting(), server_name="localhost"))

    assert flight.secured is not None


def test_a_certificate_for_another_name_is_not_accepted(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")}, tls=own())

    refused = fault(lambda: asyncio.run(flown(service.url, trusting(), server_name="example.org")))

    assert refused is Failure.TLS
    assert service.requests == []


def test_a_long_request_gets_through(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")})
    text = b"x" * 2**24

    async def ask_at_length() -> httpx.Response:
        async with client(service.url) as asking:
            return await asking.post("/ask", content=text)

    assert asyncio.run(ask_at_length()).text == "four"
    assert service.requests[0].body == text
