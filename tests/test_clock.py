"""The network under httpx: its phases one by one, its stamps, and how it ends."""

import asyncio
import gc
import os
import socket
import ssl
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Timer

import httpx
import pytest
import uvloop

from exporter.clock import HERE, Flight
from exporter.clock.stream import Direct
from exporter.clock.talk import Talk
from exporter.response import BODY_LIMIT, opened, whole
from exporter.wire import FAULTS, Failed, Failure, failed
from tests.daemon import ROOT
from tests.nvml.driver import COMPILER
from tests.services.client import client
from tests.services.scripted import FOREVER, Answer, Request, Service, Stage, Step, head, reply, script

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

    with pytest.raises(httpx.ConnectError):
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


def late(service: Service, tls: ssl.SSLContext | None = None) -> tuple[Flight, float]:
    """What a request lived through while whose second word was on its way the loop did nothing, and since when."""

    async def asleep() -> tuple[Flight, float]:
        flight = Flight()
        async with asked(service.url, flight, tls) as response:
            reads = response.aiter_raw()
            await anext(reads)
            began = time.perf_counter()
            time.sleep(0.5)  # noqa: ASYNC251  what is to be seen
            await anext(reads)
            return flight, began

    return uvloop.run(asleep())


def test_a_loop_that_is_busy_does_not_make_tokens_late(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(LONG, 0.2, b"one", 0.1, b"two", FOREVER)})

    flight, began = late(service)

    assert flight.method == "kernel"
    assert began < flight.arrived() < began + 0.4


def test_what_is_encrypted_is_stamped_where_it_is_read(stage: Stage) -> None:
    service = stage.serve({"POST /ask": script(LONG, 0.2, b"one", 0.1, b"two", FOREVER)}, tls=own())

    flight, began = late(service, trusting())

    assert flight.method == "user"
    assert flight.arrived() >= began + 0.5


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


@asynccontextmanager
async def resting(steps: Answer, stage: Stage) -> AsyncGenerator[tuple[AsyncIterator[bytes], Flight], None]:
    """The reads of an answer after the first, on which an hour is rested."""
    flight = Flight()
    async with asked(stage.serve({"POST /ask": steps}).url, flight) as response:
        reads = response.aiter_raw()
        await anext(reads)
        assert flight.stream is not None
        flight.stream.rest = 3600.0
        yield reads, flight


def test_what_is_taken_up_together_has_each_its_own_stamp(stage: Stage) -> None:
    answer = script(head(200, "Content-Length: 11"), 0.1, b"one", 0.2, b"two", 0.2, b"three")

    async def read() -> list[tuple[bytes, float]]:
        async with resting(answer, stage) as (reads, flight):
            return [(each, flight.arrived()) async for each in reads]

    (second, its_stamp), (third, after) = asyncio.run(read())

    assert (second, third) == (b"two", b"three")
    assert after - its_stamp > 0.1


def test_a_rest_ends_where_much_has_come(stage: Stage) -> None:
    answer = script(LONG, 0.1, b"x", 0.1, b"y" * 2**19, FOREVER)

    async def read() -> bytes:
        async with resting(answer, stage) as (reads, _flight):
            return await anext(reads)

    assert asyncio.run(read()).startswith(b"y")


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


@pytest.fixture
def path() -> Iterator[str]:
    """A path for a socket, which pytest's own would be too long for."""
    with TemporaryDirectory(dir="/tmp") as folder:
        yield f"{folder}/sock"


def listening(path: str, backlog: int = 8) -> socket.socket:
    """A Unix socket that listens."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(backlog)
    return sock


def got(path: str, url: str = HERE, flight: Flight | None = None) -> str:
    """What is answered at a URL by a client of the service at this socket."""

    async def asked() -> str:
        async with asyncio.timeout(10), client(HERE, local=path, connect=0.3) as asking:
            extensions = {"trace": flight.trace} if flight else None
            return (await asking.get(f"{url}/ask", extensions=extensions)).text

    return asyncio.run(asked())


def test_a_service_at_a_unix_socket_is_asked_there(stage: Stage, path: str) -> None:
    service = stage.serve({"GET /ask": reply("four")}, sock=listening(path))
    flight = Flight()

    assert got(path, flight=flight) == "four"
    assert service.requests[0].headers["host"] == "localhost"
    assert list(flight.phases(flight.arrived())) == ["resolve", "connect", "send", "wait", "stream"]


def test_what_is_elsewhere_is_not_asked_at_the_unix_socket(stage: Stage, path: str) -> None:
    here = stage.serve({}, sock=listening(path))
    elsewhere = stage.serve({"GET /ask": reply("four")})

    assert got(path, elsewhere.url.replace("127.0.0.1", "localhost")) == "four"
    assert here.requests == []


def test_where_there_is_no_socket_nobody_listens(path: str) -> None:
    assert missed(path) is Failure.REFUSED


def test_a_socket_at_which_nobody_listens_any_more_refuses(path: str) -> None:
    listening(path).close()

    assert missed(path) is Failure.REFUSED


def test_what_is_no_socket_cannot_be_reached(path: str) -> None:
    Path(path).mkdir()

    assert missed(path) in {Failure.UNREACHABLE, Failure.REFUSED}


def test_a_unix_socket_whose_backlog_is_full_is_waited_for(path: str) -> None:
    with ExitStack() as held:
        held.enter_context(listening(path, backlog=0))
        waiting = held.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(path)

        assert missed(path) is Failure.TIMEOUT_CONNECT


def test_a_unix_socket_whose_backlog_empties_takes_who_waits(stage: Stage, path: str) -> None:
    with ExitStack() as held:
        crowded = listening(path, backlog=0)
        held.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        Timer(0.1, lambda: stage.serve({"GET /ask": reply("four")}, sock=crowded)).start()

        assert got(path) == "four"


def missed(path: str) -> Failure:
    try:
        got(path)
    except FAULTS as error:
        return failed(error).failure
    raise AssertionError("it did not fail")


def listening_on_ipv6() -> socket.socket:
    """A port of IPv6 alone, which this machine may lack."""
    try:
        return socket.create_server(("::1", 0), family=socket.AF_INET6, dualstack_ipv6=False)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error.strerror}")


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
def test_a_service_that_speaks_ipv6_alone_is_reached(host: str, stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")}, sock=listening_on_ipv6())
    if host == "localhost" and "::1" not in {it[4][0] for it in socket.getaddrinfo(host, None)}:
        pytest.skip("localhost has no address of IPv6 here")

    flight = asyncio.run(flown(service.url.replace("[::1]", host)))

    assert flight.headed is not None


# Stands before the resolver of the C library: names that begin with hangs are never told.
RESOLVER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    real = dlsym(RTLD_NEXT, "getaddrinfo");
    while (host && !strncmp(host, "hangs", 5) && !(hints && hints->ai_flags & AI_NUMERICHOST)) pause();
    return real(host, port, hints, found);
}
"""

AMONG_MANY = """
import asyncio, os, sys
import uvloop
from exporter.wire import FAULTS, failed
from tests.services.client import client

async def asked(url):
    async with client(url, connect=1.0) as asking:
        for _ in range(2):
            try:
                said = (await asking.get("/ask")).text
            except FAULTS as error:
                said = str(failed(error).failure)
        return said

async def every():
    return await asyncio.gather(*(asked(f"http://hangs-{n}.test") for n in range(30)), asked(sys.argv[1]))

print(*uvloop.run(every()), flush=True)
os._exit(0)
"""


def test_names_that_hang_keep_no_other_from_being_resolved(stage: Stage, tmp_path: Path) -> None:
    if COMPILER is None:
        pytest.skip("there is no C compiler, with which a resolver that hangs is built")
    service = stage.serve({"GET /ask": reply("four")})
    (tmp_path / "resolver.c").write_text(RESOLVER)
    shim = tmp_path / "resolver.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", shim, tmp_path / "resolver.c", "-ldl"], check=True)

    *hanging, last = subprocess.run(
        [sys.executable, "-c", AMONG_MANY, service.url.replace("127.0.0.1", "localhost")],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()

    assert set(hanging) == {Failure.RESOLVE}
    assert last == "four"


def test_a_long_request_gets_through(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")})
    text = b"x" * 2**24

    async def ask_at_length() -> httpx.Response:
        async with client(service.url) as asking:
            return await asking.post("/ask", content=text)

    assert asyncio.run(ask_at_length()).text == "four"
    assert service.requests[0].body == text


class Searches:
    """The modules that were looked for in vain so far where modules lie."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, *_: object) -> None:
        self.names.append(name)


def test_a_request_does_not_search_the_disk_for_modules(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    service, searches = stage.serve({"GET /": reply("ok")}), Searches()

    async def asked() -> None:
        async with client(service.url) as asking:
            await asking.get("/")
            monkeypatch.setattr(sys, "meta_path", [searches, *sys.meta_path])
            await asking.get("/")

    asyncio.run(asked())

    assert searches.names == []


def test_a_request_leaves_nothing_that_only_a_search_for_garbage_finds(stage: Stage) -> None:
    service = stage.serve({"GET /": reply("ok"), "GET /endless": reply("x" * (BODY_LIMIT + 1))})

    async def left() -> list[object]:
        async with client(service.url) as asking:
            there = [await whereabouts(asking, path) for path in ("/", "/endless")]
            await asyncio.sleep(0.1)  # The loop itself lets go of what it has closed a turn later.
            return [each() for each, _ in there]

    gc.disable()
    try:
        assert uvloop.run(left()) == [None, None]
    finally:
        gc.enable()


def test_a_connection_leaves_nothing_that_only_a_search_for_garbage_finds(stage: Stage) -> None:
    service = stage.serve({"GET /": reply("ok")})

    async def left() -> list[object]:
        async with client(service.url) as asking:
            async with opened(asking, asking.build_request("GET", "/"), None) as response:
                await whole(response)
            del response
            await asyncio.sleep(0.1)
            return [each for each in gc.get_objects() if isinstance(each, Talk | Direct)]

    gc.collect()
    gc.disable()
    try:
        assert uvloop.run(left()) == []
    finally:
        gc.enable()


SAID = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(SAID, id="a length"),
        pytest.param(SAID.replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(b"HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\n" + SAID, id="after one that informs"),
        pytest.param(SAID + SAID, id="another that was not asked for"),
        pytest.param(SAID.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") + b"five", id="more after the end"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nfour", id="the end of the connection"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2 ;x=y\r\nfo\r\n2\r\nur\r\n0\r\nX: y\r\n\r\n",
            id="pieces",
        ),
    ],
)
def test_an_answer_ends_where_it_said_that_it_would(answer: bytes, stage: Stage) -> None:
    whole_at_once, by_bytes = script(answer), script(*(answer[at : at + 1] for at in range(len(answer))))
    service = stage.serve({"GET /whole": whole_at_once, "GET /bytes": by_bytes})

    async def both() -> list[bytes]:
        async with asyncio.timeout(10), client(service.url) as asking:
            return [(await asking.get(path)).content for path in ("/whole", "/bytes")]

    assert asyncio.run(both()) == [b"four", b"four"]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", Failure.DISCONNECTED),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Failure.DISCONNECTED),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Failure.DISCONNECTED),
        (SAID[:-1], Failure.DISCONNECTED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour", Failure.DISCONNECTED),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", Failure.INVALID),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2**15, Failure.INVALID),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 2**15, Failure.INVALID),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;" + b"x" * 2**18, Failure.INVALID),
    ],
    ids=[
        "nothing",
        "half a head",
        "no answer yet",
        "a byte short",
        "no last piece",
        "another protocol",
        "an endless head",
        "an endless end",
        "an endless piece",
    ],
)
def test_an_answer_that_does_not_end_well_is_none(answer: bytes, failure: Failure, stage: Stage) -> None:
    service = stage.serve({"GET /ask": script(answer)})

    async def torn() -> Failure:
        async with asyncio.timeout(10), client(service.url) as asking:
            try:
                async with opened(asking, asking.build_request("GET", "/ask"), None) as response:
                    await whole(response)
            except FAULTS as error:
                return failed(error).failure
        raise AssertionError("it did not fail")

    assert asyncio.run(torn()) is failure


def test_what_came_before_a_body_went_wrong_is_told(stage: Stage) -> None:
    broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\nno number\r\n"
    service = stage.serve({"POST /ask": script(broken)})

    async def heard() -> bytes:
        async with asked(service.url, Flight()) as response:
            return await anext(response.aiter_raw())

    assert asyncio.run(heard()) == b"four"


def test_nothing_goes_in_plain_text_to_where_it_was_to_be_encrypted(stage: Stage) -> None:
    service = stage.serve({"POST /ask": reply("four")})

    refused = fault(lambda: asyncio.run(flown(service.url.replace("http:", "https:"))))

    assert refused is Failure.REDIRECTED
    assert service.requests == []


async def whereabouts(asking: httpx.AsyncClient, path: str) -> "tuple[weakref.ref[httpx.Response], Failed | None]":
    """Whether the response to a request is there still, and by what reading it failed."""
    async with opened(asking, asking.build_request("GET", path), None) as response:
        there = weakref.ref(response)
        try:
            await whole(response)
        except FAULTS as error:
            return there, failed(error)
        return there, None
