"""Whatever bytes come to the program's own port, it answers in HTTP or hangs up, and is there for the next client."""

import gzip
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.connection import LIMITS
from tests.daemon import Daemon, started

GOOD = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
METHODS = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"PRI", b"G\x00T", b""]
)
PATHS = st.sampled_from(
    [
        *(
            b"/",
            b"/metrics",
            b"/-/healthy",
            b"/-/ready",
            b"/-/reload",
            b"/-/gpu/release",
            b"*",
            b"//",
            b"/%00",
            b"/%ff",
        ),
        *(
            b"/metrics?name[]=up",
            b"http://x/metrics",
            b"/..%2f..%2fetc/passwd",
            b"/" + b"a" * 5000,
            b"/\xff",
            b"/#",
            b"",
        ),
    ]
) | st.binary(max_size=10).map(lambda path: b"/" + path)
FIELDS = st.lists(
    st.sampled_from(
        [
            *(
                b"Host: x",
                b"Host: y",
                b"Content-Length: 0",
                b"Content-Length: 5",
                b"Content-Length: -1",
                b"Connection: close",
            ),
            *(
                b"Content-Length: 5, 5",
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: gzip",
                b"Expect: 100-continue",
            ),
            *(
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Upgrade: h2c",
                b"Sec-WebSocket-Key: eA==",
                b"Range: bytes=0-1",
            ),
            *(
                b"Accept-Encoding: gzip",
                b"Accept-Encoding: gzip;q=x",
                b"Accept-Encoding: \xff",
                b"Accept: */*;q=\xe9",
                b" : x",
            ),
            *(
                b"Accept: application/openmetrics-text;version=1.0.0;escaping=x",
                b"Accept: ;;q=,,/",
                b": x",
                b"A",
                b"A : b",
            ),
            *(
                b"Authorization: Basic !!!",
                b"Authorization: Basic OjpcMA==",
                b"Cookie: " + b"x" * 20_000,
                b"\x00: \x00",
            ),
            *(b"Accept: text/plain;version=nan;q=nan", b"Accept: application/openmetrics-text;version=\xc2\xb2"),
        ]
    )
    | st.binary(max_size=20),
    max_size=5,
)
BODIES = st.sampled_from([b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"-1\r\n", b"f" * 30 + b"\r\n", GOOD])
REQUESTS = st.builds(
    lambda method, path, version, fields, body: b"\r\n".join([b" ".join([method, path, version]), *fields, b"", body]),
    METHODS,
    PATHS,
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b""]),
    FIELDS,
    BODIES,
)
STATUSES = {100, 200, 400, 403, 404, 405, 413, 431}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The program, which must live through it all and find nothing worth a line in its log."""
    quiet = {"gpu": {"enabled": False}, "host": {"enabled": False}, "log": {"level": "warning"}}
    with started(tmp_path_factory.mktemp("program"), quiet) as daemon:
        yield daemon
        loud = [line for line in daemon.log.splitlines() if "no target" not in line]
        assert not loud


def exchanged(program: Daemon, pieces: Sequence[bytes], method: str = "GET") -> Iterator[tuple[int, bytes]]:
    """The status and body of the answer to these bytes, none where it hangs up or the answer is lost in the reset."""
    port = int(program.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=LIMITS.request_seconds * 6) as client:
        with suppress(OSError):
            for piece in pieces:
                client.sendall(piece)
            if pieces != [GOOD]:
                # Nothing follows, so that a request that is not whole is not waited for.
                client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError, HTTPException), HTTPResponse(client, method=method) as response:
            response.begin()
            body = response.read()
            packed = response.headers["Content-Encoding"] == "gzip" and body
            yield response.status, gzip.decompress(body) if packed else body


@settings(deadline=None, max_examples=50)
@given(said=st.lists(REQUESTS | st.binary(max_size=200), min_size=1, max_size=3))
def test_whatever_is_sent_the_next_client_is_answered(program: Daemon, said: Sequence[bytes]) -> None:
    method = "HEAD" if said[0].startswith(b"HEAD ") else "GET"

    statuses = {status for status, _ in exchanged(program, said, method)}

    assert statuses <= STATUSES
    assert list(exchanged(program, [GOOD])) == [(200, b"model-sidecar is healthy.\n")]


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(deadline=None, max_examples=20)
@given(request=REQUESTS, at=st.integers(0, 200), more=REQUESTS)
def test_a_request_that_comes_in_two_pieces_is_answered_as_in_one(
    program: Daemon, request: bytes, at: int, more: bytes
) -> None:
    method = "HEAD" if request.startswith(b"HEAD ") else "GET"
    said = request + more

    whole = [status for status, _ in exchanged(program, [said], method)]
    parted = [status for status, _ in exchanged(program, [said[:at], said[at:]], method)]

    assert parted == whole or not parted or not whole


def test_what_is_counted_of_strangers_has_no_name_of_theirs(program: Daemon) -> None:
    list(exchanged(program, [b"GET /made-up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]))

    page = program.until(lambda page: bool(page.samples("model_sidecar_http_requests_total", path="other")))
    paths = {each.labels["path"] for each in page.samples("model_sidecar_http_requests_total")}

    assert "other" in paths
    assert "/made-up" not in paths
