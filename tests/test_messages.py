from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.messages import Request, Requests

SAID = (
    b"GET /metrics?name=up HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
    b"\r\nHEAD / HTTP/1.1\r\nHost: y\r\nX-Empty:\r\n\r\n"
    b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX: 1\r\nx: 2\r\n\r\n"
    b"helloGET /never HTTP/1.1\r\nHost: x\r\n\r\n"
)
MEANT = [
    Request(method="GET", path="/metrics", query="name=up", headers={"host": "x", "accept-encoding": "gzip"}),
    Request(method="HEAD", path="/", headers={"host": "y", "x-empty": ""}),
    Request(method="POST", path="/-/reload", headers={"host": "x", "content-length": "5", "x": "1, 2"}),
]


def asked(*pieces: bytes, limit: int = 16384) -> Sequence[Request | None]:
    requests = Requests(limit)
    for piece in map(bytearray, pieces):
        while piece and not requests.last:
            requests.take(piece)
    return list(requests.asked)


@given(cuts=st.sets(st.integers(0, len(SAID))))
def test_requests_are_the_same_in_whatever_pieces_they_come(cuts: set[int]) -> None:
    pieces = [SAID[start:end] for start, end in pairwise([0, *sorted(cuts), len(SAID)])]

    assert asked(*pieces) == MEANT


@given(size=st.integers(50, 20_000), cut=st.integers(0, 20_000))
def test_a_header_is_as_long_as_the_limit_at_most_in_whatever_pieces_it_comes(size: int, cut: int) -> None:
    said = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * size + b"\r\n\r\n"

    told = asked(said[:cut], said[cut:], limit=10_000)

    assert (told == [None]) == (len(said) > 10_000)


@given(said=st.binary(max_size=300), cut=st.integers(0, 300))
def test_whatever_comes_the_last_request_stays_the_last(said: bytes, cut: int) -> None:
    told = asked(said[:cut], said[cut:], b"\r\n\r\n", b"\x00", SAID, SAID)

    assert told
    assert None not in told[:-1]
