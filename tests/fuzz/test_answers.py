"""Whatever a service says to whatever protocol, there is an outcome, and no more is held than is allowed."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.protocols import PROTOCOLS
from exporter.response import BODY_LIMIT
from exporter.wire import FAULTS, Answer, Failure, Prompt, failed
from tests.fuzz.mangled import bodies, cut, mangled

MIB = 2**20
KINDS = ["application/json", "text/event-stream", "application/x-ndjson", "text/plain", "image/png", ""]
PROMPTS = [
    Prompt(text="Count.", nonce="0a1b", model="tiny", path="/ask", body={"data": ["${text}"]}, answer="$..text"),
    Prompt(text="Count.", model="double", body={}, answer="data.0.b", documents=("a", "b")),
    Prompt(),
]
STATUSES = [200] * 12 + [204, 307, 400, 422, 424, 500, 503]
ALL = bodies("*/*")


class Said(httpx.AsyncByteStream):
    """A body, in pieces; it keeps count of what was taken of it."""

    def __init__(self, pieces: Sequence[bytes], times: int = 1) -> None:
        self._pieces = pieces
        self._times = times
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._times):
            for piece in self._pieces:
                self.taken += len(piece)
                yield piece


def outcome(protocol: str, prompt: Prompt, status: int, headers: Mapping[str, str], said: Sequence[Said]) -> object:
    """What becomes of these answers, the last of which is given for ever."""
    left = list(said)

    def answer(_request: httpx.Request) -> httpx.Response:
        body = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(status, headers=headers, stream=body)

    async def asked() -> Failure | None:
        transport = httpx.MockTransport(answer)
        async with asyncio.timeout(60), httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            heard = Answer()
            try:
                async for delta in PROTOCOLS[protocol].ask(client, prompt):
                    heard = heard.plus(delta)
            except FAULTS as error:
                return failed(error).failure
            return None

    return asyncio.run(asked())


HEADERS = st.builds(
    lambda kind, coding: {"Content-Type": kind, **({"Content-Encoding": coding} if coding else {})},
    st.sampled_from(KINDS),
    st.sampled_from(["", "", "", "", "gzip", "deflate", "br"]),
)
PIECES = st.builds(cut, mangled(ALL), st.lists(st.integers(0, 4096), max_size=4))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(deadline=None, max_examples=20)
@given(
    prompt=st.sampled_from(PROMPTS),
    status=st.sampled_from(STATUSES),
    headers=HEADERS,
    said=st.lists(PIECES, min_size=1, max_size=2),
)
def test_whatever_is_answered_to_a_protocol_has_an_outcome(
    protocol: str, prompt: Prompt, status: int, headers: Mapping[str, str], said: Sequence[Sequence[bytes]]
) -> None:
    assert outcome(protocol, prompt, status, headers, [Said(pieces) for pieces in said]) in {None, *Failure}


REPEATED = [b"data: {}\n\n", b"{}\n", b"x" * 1000, b"\n", b'{"a":', b"[", b'"', b" ", b"data: x\n", b": nothing\n\n"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(deadline=None, max_examples=2)
@given(kind=st.sampled_from(KINDS), start=mangled(ALL), repeated=st.sampled_from(REPEATED) | mangled(ALL))
def test_a_body_without_end_is_not_read_beyond_what_is_allowed(
    protocol: str, kind: str, start: bytes, repeated: bytes
) -> None:
    piece = (repeated or b" ") * (MIB // len(repeated or b" "))
    endless = Said([start, piece], times=100)

    assert outcome(protocol, PROMPTS[0], 200, {"Content-Type": kind}, [endless]) in {None, *Failure}
    assert endless.taken <= BODY_LIMIT + 2 * MIB


@cache
def bomb(filling: bytes) -> bytes:
    """As much of a filling as makes 64 MiB, compressed."""
    return gzip.compress(filling * (64 * MIB // len(filling)), compresslevel=1)


@pytest.mark.parametrize("protocol", ["openai-chat", "ollama", "plain"])
@settings(deadline=None, max_examples=1)
@given(kind=st.sampled_from(KINDS), filling=st.sampled_from(REPEATED[:4]))
def test_a_bomb_of_gzip_takes_no_more_memory_than_its_body_may_have(protocol: str, kind: str, filling: bytes) -> None:
    said = Said([bomb(filling)])

    tracemalloc.start()
    try:
        assert outcome(protocol, PROMPTS[0], 200, {"Content-Type": kind, "Content-Encoding": "gzip"}, [said])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * BODY_LIMIT
