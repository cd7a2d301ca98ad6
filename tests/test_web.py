import asyncio
import gzip
import logging
import random
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from threading import Event

import pytest

from exporter.connection import Limits
from exporter.listening import Unbound, bind
from exporter.messages import Request, Response, plain
from exporter.web import Post, Route, Server, compressed

METRICS = b"up 1\n" * 1000
LONG = bytes(60_000)
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def metrics(request: Request) -> Response:
    return compressed(request, Response(headers={"content-type": "text/plain"}, body=METRICS))


def broken(request: Request) -> Response:
    raise ZeroDivisionError(request.path)


def long(request: Request) -> Response:
    return Response(body=LONG)


def endless(request: Request) -> Response:
    return Response(body=bytes(16_000_000))


ROUTES: Mapping[str, Route] = {"/metrics": metrics, "/broken": broken, "/long": long, "/endless": endless}


@contextmanager
def serving(
    routes: Mapping[str, Route | Post] = ROUTES, address: str = "127.0.0.1:0", **limits: float
) -> Iterator[Server]:
    server = Server(routes, bind([address]), limits=Limits(**limits))  # type: ignore[arg-type]  # as the test has it
    server.start()
    try:
        yield server
    finally:
        server.stop()


def port(server: Server) -> int:
    number: int = server._sockets[0].getsockname()[1]
    return number


@contextmanager
def connected(server: Server, buffer: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.settimeout(10)
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(("127.0.0.1", port(server)))
        yield client


def answer(client: socket.socket, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    response = HTTPResponse(client, method=method)
    response.begin()
    return response, response.read()


def asked(server: Server, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    with connected(server) as client:
        client.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        return answer(client, method)


def patience() -> Iterator[None]:
    for _ in range(500):
        yield
        time.sleep(0.02)


def rest(client: socket.socket) -> int:
    """How much the server still sends, until it closes."""
    count = 0
    with suppress(ConnectionResetError):
        while more := client.recv(65536):
            count += len(more)
    return count


def test_a_route_answers_with_its_body_and_headers() -> None:
    with serving() as server:
        response, body = asked(server)

    assert response.status == 200
    assert response.getheader("Content-Type") == "text/plain"
    assert response.getheader("Date", "").endswith("GMT")
    assert response.getheader("Server") is None
    assert body == METRICS


def test_a_route_is_told_method_path_query_and_headers() -> None:
    told: list[Request] = []

    def route(request: Request) -> Response:
        told.append(request)
        return plain(200, "ok")

    with serving({"/where": route}) as server, connected(server) as client:
        client.sendall(b"GET /where?name=chat HTTP/1.1\r\nHost: x\r\nX-Two: a\r\nX-Two: b\r\n\r\n")
        answer(client)

    assert told == [
        Request(method="GET", path="/where", query="name=chat", headers={"host": "x", "x-two": "a, b"}),
    ]


def test_head_is_answered_as_get_without_its_body() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET.replace(b"GET", b"HEAD"))
        head, nothing = answer(client, "HEAD")
        client.sendall(GET)
        _, body = answer(client)

    assert (head.status, head.getheader("Content-Length"), nothing) == (200, str(len(METRICS)), b"")
    assert body == METRICS


def test_an_answer_to_head_ends_with_its_header() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET.replace(b"GET", b"HEAD"))

        assert client.recv(65536).endswith(b"\r\n\r\n")


def test_another_method_is_refused_with_those_allowed() -> None:
    with serving() as server:
        response, _ = asked(server, method="DELETE")

    assert (response.status, response.getheader("Allow")) == (405, "GET, HEAD")


def test_what_a_post_has_done_is_done_for_no_other_method() -> None:
    done: list[str] = []

    async def act() -> Response:
        done.append("once")
        return plain(200, "done")

    with serving({"/-/act": Post(act)}) as server:
        posted, body = asked(server, "/-/act", "POST", **{"Content-Length": "0"})
        others = [asked(server, "/-/act", method)[0] for method in ("GET", "HEAD", "PUT")]

    assert (posted.status, body, done) == (200, b"done\n", ["once"])
    assert {(other.status, other.getheader("Allow")) for other in others} == {(405, "POST")}


def test_a_post_that_waits_holds_up_neither_others_nor_stopping(caplog: pytest.LogCaptureFixture) -> None:
    begun = Event()

    async def act() -> Response:
        begun.set()
        await asyncio.sleep(600)
        return plain(200, "at last")

    with serving({"/-/act": Post(act), **ROUTES}) as server, connected(server) as client:
        client.sendall(b"POST /-/act HTTP/1.1\r\nHost: x\r\n\r\n")
        begun.wait(10)
        response, _ = asked(server)

        server.stop()

        assert response.status == 200
        assert rest(client) == 0
    assert not server._thread.is_alive()
    assert caplog.text == ""


def test_what_a_post_has_begun_is_done_though_its_client_has_gone() -> None:
    begun, let_on, done = Event(), Event(), Event()

    async def act() -> Response:
        begun.set()
        await asyncio.to_thread(let_on.wait, 10)
        done.set()
        return plain(200, "done")

    with serving({"/-/act": Post(act)}) as server:
        with connected(server) as client:
            client.sendall(b"POST /-/act HTTP/1.1\r\nHost: x\r\n\r\n")
            begun.wait(10)
        let_on.set()

        assert done.wait(10)
        assert any(not server._connections for _ in patience())
        assert server.requests["/-/act", "200"] == 1


def test_stopping_calls_off_what_a_client_that_has_gone_had_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = Event(), Event()

    async def act() -> Response:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()
        return plain(200, "at last")

    with serving({"/-/act": Post(act), **ROUTES}) as server:
        with connected(server) as client:
            client.sendall(b"POST /-/act HTTP/1.1\r\nHost: x\r\n\r\n")
            begun.wait(10)
        asked(server)

        server.stop()

    assert ended.is_set()
    assert caplog.text == ""


def test_a_post_that_is_called_off_is_told_to_its_client() -> None:
    async def act() -> Response:
        raise asyncio.CancelledError

    with serving({"/-/act": Post(act)}) as server:
        response, _ = asked(server, "/-/act", "POST")

    assert response.status == 503


def test_no_more_is_read_while_an_answer_is_being_made() -> None:
    async def act() -> Response:
        await asyncio.sleep(600)
        return plain(200, "at last")

    with serving({"/-/act": Post(act)}) as server, connected(server) as client:
        client.sendall(b"POST /-/act HTTP/1.1\r\nHost: x\r\n\r\n")
        client.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError):
            while sent < 100_000_000:
                sent += client.send(GET * 10_000)

    assert sent < 100_000_000


def test_an_unknown_path_is_not_found() -> None:
    with serving() as server:
        response, _ = asked(server, "/metrics/")

    assert response.status == 404


def test_a_route_that_raises_is_500_and_logged_and_the_next_request_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as server:
        failed, _ = asked(server, "/broken")
        next_one, _ = asked(server)

    assert (failed.status, next_one.status) == (500, 200)
    assert "ZeroDivisionError: /broken" in caplog.text


def test_a_route_that_raises_leaves_its_connection_to_the_next_request() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET.replace(b"/metrics", b"/broken"))
        failed, _ = answer(client)
        client.sendall(GET)
        _, body = answer(client)

    assert (failed.status, body) == (500, METRICS)


def test_a_header_that_cannot_be_said_costs_no_answer() -> None:
    with serving({"/": lambda _: plain(200, "ok", **{"x-price": "5 €"})}) as server:
        response, body = asked(server, "/")

    assert (response.getheader("x-price"), body) == ("5 ?", b"ok\n")


def test_an_answer_comes_in_one_piece() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET)

        assert client.recv(65536).endswith(METRICS)


def test_requests_are_counted_by_known_path_and_status() -> None:
    with serving() as server:
        for path in ("/metrics", "/metrics", "/broken", "/nowhere", "/elsewhere"):
            asked(server, path)
        with connected(server) as client:
            client.sendall(b"\x16\x03\x01\r\n\r\n")
            rest(client)

    assert server.requests == {
        ("/metrics", "200"): 2,
        ("/broken", "200"): 0,
        ("/long", "200"): 0,
        ("/endless", "200"): 0,
        ("/broken", "500"): 1,
        ("other", "404"): 2,
        ("other", "400"): 1,
    }


@pytest.mark.parametrize("offer", ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br;q=1, *;q=0.1", "gzip;q=1.000"])
def test_a_client_that_accepts_gzip_gets_it(offer: str) -> None:
    with serving() as server:
        response, body = asked(server, **{"Accept-Encoding": offer})

    assert (response.getheader("Content-Encoding"), response.getheader("Vary")) == ("gzip", "accept-encoding")
    assert gzip.decompress(body) == METRICS


@pytest.mark.parametrize("offer", ["", "identity", "gzip;q=0", "gzip; q=0.000", "*, gzip;q=0", "*;q=0", "gzipped, br"])
def test_a_client_that_does_not_accept_gzip_is_spared_it(offer: str) -> None:
    with serving() as server:
        response, body = asked(server, **{"Accept-Encoding": offer})

    assert (response.getheader("Content-Encoding"), response.getheader("Vary")) == (None, "accept-encoding")
    assert body == METRICS


def test_what_else_an_answer_varies_by_is_kept() -> None:
    negotiated = compressed(Request(method="GET", path="/"), Response(headers={"vary": "accept"}, body=b""))

    assert negotiated.headers == {"vary": "accept, accept-encoding"}


def test_a_connection_serves_one_request_after_another() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET)
        _, first = answer(client)
        client.sendall(GET)
        _, second = answer(client)

    assert first == second == METRICS


def test_an_idle_connection_outlives_the_time_a_request_may_take() -> None:
    with serving(request_seconds=0.1) as server, connected(server) as client:
        client.sendall(GET)
        answer(client)
        time.sleep(0.3)
        client.sendall(GET)
        _, body = answer(client)

    assert body == METRICS


def test_a_connection_that_asks_for_nothing_more_is_closed_in_time() -> None:
    with serving(idle_seconds=0.2) as server, connected(server) as client:
        client.sendall(GET)
        answer(client)

        assert rest(client) == 0


def test_pipelined_requests_are_answered_in_turn() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET + GET.replace(b"/metrics", b"/nowhere") + GET)
        received = bytearray()
        while received.count(METRICS) < 2:
            received += client.recv(65536)

    assert [line.split()[1] for line in received.splitlines() if line.startswith(b"HTTP/1.1")] == [
        b"200",
        b"404",
        b"200",
    ]


def test_nobody_waits_until_a_thousand_requests_of_another_are_answered() -> None:
    order: list[str] = []
    greedy = GET.replace(b"/metrics", b"/greedy") * 1000

    def noted(request: Request) -> Response:
        order.append(request.path)
        if len(order) == 1:
            modest.sendall(GET)
        return plain(200, request.path)

    with (
        serving({"/greedy": noted, "/metrics": noted}) as server,
        connected(server) as modest,
        connected(server) as client,
    ):
        client.sendall(greedy)
        answered, _ = answer(modest)
        received = bytearray()
        while received.count(b"HTTP/1.1 200") < 1000 and (more := client.recv(65536)):
            received += more

    assert answered.status == 200
    assert order.index("/metrics") < 10
    assert len(order) == 1001


def test_what_is_asked_before_what_is_not_http_is_answered() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET.replace(b"/metrics", b"/nowhere") * 2 + b"garbage\r\n\r\n" + GET)
        received = bytearray()
        while more := client.recv(65536):
            received += more

    assert [line.split()[1] for line in received.splitlines() if line.startswith(b"HTTP/1.1")] == [
        b"404",
        b"404",
        b"400",
    ]


def test_what_is_asked_while_an_answer_is_made_is_answered_after_it() -> None:
    begun, let_on = Event(), Event()

    async def act() -> Response:
        begun.set()
        await asyncio.to_thread(let_on.wait, 10)
        return plain(200, "at last")

    with serving({"/-/act": Post(act), **ROUTES}) as server, connected(server) as client:
        client.sendall(b"POST /-/act HTTP/1.1\r\nHost: x\r\n\r\n")
        begun.wait(10)
        client.sendall(GET)
        asked(server)  # By which that has come.
        let_on.set()
        received = bytearray()
        while not received.endswith(METRICS):
            received += client.recv(65536)
        client.sendall(GET)
        _, last = answer(client)

    assert received.index(b"at last") < received.index(METRICS)
    assert last == METRICS


def test_a_connection_may_say_more_than_the_limit_in_many_requests() -> None:
    with serving() as server, connected(server) as client:
        for _ in range(20):
            client.sendall(GET[:-2] + b"X: " + b"x" * 1000 + b"\r\n\r\n")
            response, _ = answer(client)

    assert response.status == 200


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"G", GET[:-2], GET[:-2] + b"Content-Length: 9\r\n"])
def test_a_connection_without_a_complete_request_is_closed_in_time(sent: bytes) -> None:
    with serving(request_seconds=0.2) as server, connected(server) as client:
        client.sendall(sent)

        assert rest(client) == 0


def test_a_half_sent_second_request_is_closed_in_time() -> None:
    with serving(request_seconds=0.2) as server, connected(server) as client:
        client.sendall(GET + GET[:9])
        _, body = answer(client)

        assert body == METRICS
        assert rest(client) == 0


def test_a_request_that_trickles_in_gains_no_time() -> None:
    with serving(request_seconds=0.3) as server, connected(server) as client:
        sent = 0
        with suppress(ConnectionError):
            for sent in range(1000):
                client.sendall(b"GET /"[sent : sent + 1] or b"x")
                time.sleep(0.01)

    assert sent < 900


@pytest.mark.parametrize(("size", "end"), [(200_000, b""), (30_000, b"\r\n\r\n")], ids=["endless", "complete"])
def test_a_header_over_the_limit_is_refused(size: int, end: bytes) -> None:
    with serving() as server, connected(server) as client:
        with suppress(ConnectionError):
            client.sendall(GET[:-2] + b"X: " + b"x" * size + end)
        rest(client)

    assert server.requests["other", "400"] == 1
    assert server.requests["/metrics", "200"] == 0


def test_a_header_under_the_limit_is_read_in_whatever_pieces_it_comes() -> None:
    with serving() as server, connected(server) as client:
        client.sendall(GET[:-2] + b"X: " + b"x" * 15_000)
        time.sleep(0.05)
        client.sendall(b"\r\n\r\n")
        response, _ = answer(client)

    assert response.status == 200


@pytest.mark.parametrize(
    ("method", "status", "body"),
    [
        (b"GET", 413, b"Content-Length: 5\r\n\r\nhello"),
        (b"GET", 413, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        (b"POST", 405, b"Content-Length: 1000000000\r\n\r\nhello"),
    ],
)
def test_a_body_is_refused_and_not_waited_for(method: bytes, status: int, body: bytes) -> None:
    with serving(request_seconds=60) as server, connected(server) as client:
        client.sendall(method + GET[3:-2] + body)
        response, _ = answer(client)

        assert (response.status, response.getheader("Connection")) == (status, "close")
        assert rest(client) == 0


ONCE = b"Host: x\r\n"


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (200, b"GET /metrics HTTP/1.0\r\n\r\n"),
        (200, b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        (200, GET[:-2] + b"Connection: close\r\n\r\n"),
        (200, GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (200, GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"),
        (413, GET[:-2] + b"Content-Length: 40\r\n\r\n"),
        (413, GET[:-2] + b"Content-Length: 5\r\n\r\nhello"),
        (413, GET[:-2] + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"),
        (413, GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (413, GET[:-2] + b"Transfer-Encoding: gzip\r\n\r\n"),
        (400, GET[:-2] + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
        (400, GET[:-2] + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, GET[:-2] + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello"),
        (400, GET[:-2] + b"Content-Length: +5\r\n\r\nhello"),
        (400, GET[:-2] + b"Content-Length : 5\r\n\r\nhello"),
        (400, GET[:-2] + b"X: folded\r\n Content-Length: 5\r\n\r\nhello"),
        (400, GET.replace(b"\r\n", b"\n")),
        (400, GET[:-2] + b"X: \0\r\n\r\n"),
        (400, GET[:-2] + ONCE + b"\r\n"),
        (400, GET.replace(ONCE, b"")),
        (400, GET.replace(b"1.1", b"1.0")[:-2] + ONCE + b"\r\n"),
        (400, GET.replace(b"1.1", b"2.0")),
        (400, GET.replace(b"1.1", b"0.9")),
        (400, b"GET /metrics\r\n\r\n"),
        (400, GET.replace(b"/metrics", b"/metrics HTTP/1.1 /metrics")),
        (400, GET.replace(b"/metrics", b"/\xff")),
    ],
)
def test_nothing_is_read_after_a_request_that_must_be_the_last(status: int, request_: bytes) -> None:
    with serving() as server, connected(server) as client:
        client.sendall(request_ + GET.replace(b"/metrics", b"/smuggled"))
        response, _ = answer(client)

        assert (response.status, response.getheader("Connection")) == (status, "close")
        assert rest(client) == 0
    assert ("other", "404") not in server.requests


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%20b", "/a b", ""),
        (b"/%ff", "/\ufffd", ""),
        (b"/where?a=%20?&b", "/where", "a=%20?&b"),
        (b"http://x/where", "http://x/where", ""),
        (b"//where", "//where", ""),
        (b"*", "*", ""),
    ],
)
def test_a_target_is_told_as_it_is_written_but_for_what_is_escaped_in_its_path(
    target: bytes, path: str, query: str
) -> None:
    told: list[Request] = []

    def route(request: Request) -> Response:
        told.append(request)
        return plain(200, "ok")

    with serving({path: route}) as server, connected(server) as client:
        client.sendall(GET.replace(b"/metrics", target))
        answer(client)

    assert [(request.path, request.query) for request in told] == [(path, query)]


def test_what_surrounds_a_header_is_no_part_of_it_and_its_bytes_may_be_any() -> None:
    told: list[Request] = []

    def route(request: Request) -> Response:
        told.append(request)
        return plain(200, "ok")

    with serving({"/metrics": route}) as server, connected(server) as client:
        client.sendall(GET[:-2] + b"X-One: \t a \t \r\nX-None:\r\nX-none: \xe9\r\n\r\n")
        answer(client)

    assert told[0].headers == {"host": "x", "x-one": "a", "x-none": "é"}


@contextmanager
def unread(server: Server, path: bytes) -> Iterator[socket.socket]:
    """A client that was sent what the smallest of buffers hold of its answer."""
    server._sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    with connected(server, buffer=8192) as client:
        client.sendall(GET.replace(b"/metrics", path))
        yield client


@pytest.mark.parametrize("path", [b"/endless", b"/long"])
def test_a_client_that_does_not_take_its_answer_is_dropped(path: bytes) -> None:
    with serving(answer_seconds=0.2) as server, unread(server, path) as client:
        time.sleep(0.5)

        with pytest.raises((HTTPException, ConnectionResetError)):
            answer(client)


def test_a_client_that_takes_its_answer_late_but_in_time_gets_all_of_it_and_may_go_on() -> None:
    with serving(answer_seconds=0.5) as server, unread(server, b"/long") as client:
        time.sleep(0.1)
        _, late = answer(client)
        time.sleep(0.6)
        client.sendall(GET)
        _, next_one = answer(client)

    assert late == LONG
    assert next_one == METRICS


def test_no_answer_is_made_before_the_one_before_it_is_read() -> None:
    with serving() as server, unread(server, b"/endless") as client:
        client.sendall(GET.replace(b"/metrics", b"/endless") * 3)
        client.recv(1)
        asked(server)

        assert server.requests["/endless", "200"] == 1


def test_the_oldest_of_too_many_unread_answers_is_dropped() -> None:
    with serving(unread_answers=2) as server, ExitStack() as crowd:
        clients = [crowd.enter_context(connected(server, buffer=4096)) for _ in range(3)]
        for client in clients:
            client.sendall(GET.replace(b"/metrics", b"/endless")[:-2] + b"Connection: close\r\n\r\n")
            client.recv(1)
        oldest, newest = rest(clients[0]), rest(clients[2])

    assert oldest < 16_000_000 < newest


@contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_idle_connections_do_not_keep_a_scrape_out() -> None:
    with many_files(), serving(request_seconds=60) as server, ExitStack() as crowd:
        clients = [crowd.enter_context(connected(server)) for _ in range(1000)]
        response, _ = asked(server)
        first_is_dropped = clients[0].recv(1) == b""
        clients[-1].sendall(GET)
        last, _ = answer(clients[-1])

    assert (response.status, last.status) == (200, 200)
    assert first_is_dropped


def garbage() -> Iterator[bytes]:
    dice = random.Random(7)
    for _ in range(50):
        yield dice.randbytes(dice.randrange(1, 3000))
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"\r\n" * 100
    yield b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"
    yield GET[:-2] + b"Content-Length: -1\r\n\r\n"
    yield GET[:-2] + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"
    yield GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n"
    yield GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + b"not a chunk\r\n" * 10_000
    yield GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    yield GET + b"garbage" + GET
    yield GET.replace(b"Host", b"Ho st")


def test_garbage_is_refused_without_a_word_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    with serving(request_seconds=0.2) as server:
        for each in garbage():
            with connected(server) as client, suppress(ConnectionError):
                client.sendall(each)
                client.shutdown(socket.SHUT_WR)
                rest(client)
        response, _ = asked(server)

    assert response.status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_body_that_is_none_and_comes_late_is_refused_without_a_word_too(caplog: pytest.LogCaptureFixture) -> None:
    with serving(request_seconds=0.2) as server:
        with connected(server) as client, suppress(ConnectionError):
            client.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encod")
            time.sleep(0.05)  # So that the rest comes by itself.
            client.sendall(b"ing: chunked\r\n\r\n\x00\x01garbage\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            rest(client)
        response, _ = asked(server)

    assert response.status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_client_that_resets_in_the_middle_of_its_answer_leaves_no_word_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as server:
        for _ in range(20):
            with connected(server, buffer=4096) as client:
                client.sendall(GET.replace(b"/metrics", b"/endless") * 2)
                client.recv(1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asked(server)

    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == []


STUCK = """
import asyncio, time
from exporter.listening import bind
from exporter.messages import plain
from exporter.web import Server

async def stuck():
    sockets = bind(["127.0.0.1:0"])
    Server({"/": lambda request: plain(200, "alive")}, sockets).start()
    print(sockets[0].getsockname()[1], flush=True)
    time.sleep(60)

asyncio.run(stuck())
"""


def test_it_answers_while_the_main_thread_and_its_loop_are_stuck() -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            _, body = answer(client)
        process.kill()

    assert body == b"alive\n"


def test_it_serves_beside_a_running_loop() -> None:
    async def beside() -> bytes:
        with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port(server))
            writer.write(GET)
            line = await reader.readline()
            writer.close()
            return line

    assert asyncio.run(beside()) == b"HTTP/1.1 200 OK\r\n"


def test_a_server_that_stopped_refuses_and_drops_every_connection() -> None:
    with serving() as server:
        address = ("127.0.0.1", port(server))
        with connected(server) as client:
            client.sendall(GET)
            answer(client)

            server.stop()

            assert rest(client) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_route_that_hangs_does_not_hold_up_stopping() -> None:
    begun, released = Event(), Event()

    def hanging(request: Request) -> Response:
        begun.set()
        released.wait(60)
        return plain(200, "at last")

    with serving({"/": hanging}) as server, connected(server) as client:
        address = ("127.0.0.1", port(server))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        begun.wait(10)

        server.stop()

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        released.set()


def test_a_port_that_is_taken_is_refused_by_the_address_that_was_typed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(Unbound, match=f"^cannot listen on '{taken}': the port is taken; stop the program [^\n]+$"):
            bind([taken])


def test_where_one_address_is_refused_none_stays_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as free:
        taken, other_port = (each.getsockname()[1] for each in (other, free))
        free.close()

        with pytest.raises(Unbound):
            bind([f"127.0.0.1:{other_port}", f"127.0.0.1:{taken}"])

        for each in bind([f"127.0.0.1:{other_port}"]):
            each.close()


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("192.0.2.1:0", "this machine has no such address"),
        ("no.such.name.invalid:0", "name"),
        ("10068", "write :10068"),
        ("::1:10068", "write :10068"),
        (":65536", "write :10068"),
        (":²", "write :10068"),
        ("127.0.0.1:http", "write :10068"),
        ("", "write :10068"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_refused_with_what_to_do(address: str, advice: str) -> None:
    with pytest.raises(Unbound) as refused:
        bind([address])

    assert str(refused.value).startswith(f"cannot listen on {address!r}: ")
    assert advice in str(refused.value)
    assert "\n" not in str(refused.value)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        (":0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1"),
        ("127.0.0.1:0", "127.0.0.1"),
        ("localhost:0", "127.0.0.1"),
        pytest.param(":0", "::1", marks=needs_ipv6),
        pytest.param("[::1]:0", "::1", marks=needs_ipv6),
        pytest.param("[::]:0", "127.0.0.1", marks=needs_ipv6),
    ],
)
def test_an_address_is_listened_on_as_it_is_written(address: str, reached: str) -> None:
    with serving(address=address) as server, socket.create_connection((reached, port(server)), timeout=10) as client:
        client.sendall(GET)
        response, _ = answer(client)

    assert response.status == 200


def test_all_addresses_are_those_of_ipv4_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    no: Callable[[], bool] = lambda: False  # noqa: E731
    monkeypatch.setattr(socket, "has_dualstack_ipv6", no)

    with serving(address=":0") as server:
        response, _ = asked(server)

    assert response.status == 200
