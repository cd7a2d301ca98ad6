"""Bytes on a wire: how a body is cut into events however it comes, and what each way of going wrong is called."""

import ast
import asyncio
import gzip
import pickle
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.paths import Json
from exporter.response import (
    BODY_LIMIT,
    FRAME_LIMIT,
    LINES_LIMIT,
    Event,
    accepted,
    answered,
    beginning,
    events,
    lines,
    opened,
    parsed,
    whole,
)
from exporter.wire import CAUSES, FAULTS, STATUSES, Failed, Failure, Prompt, failed, filled, refusal
from tests.services.client import client
from tests.services.scripted import Answer, Ending, Stage, chunks, head, in_turn, reply, script

EXPORTER = Path(__file__).parent.parent / "exporter"
CERTIFICATE = Path(__file__).parent / "services" / "self-signed.pem"
MIB = 2**20


def response(*reads: bytes, status: int = 200, coding: str | None = None) -> httpx.Response:
    """An answer whose body comes in these reads."""

    async def body() -> AsyncIterator[bytes]:
        for read in reads:
            yield read

    return httpx.Response(status, headers={} if coding is None else {"content-encoding": coding}, content=body())


def heard(*reads: bytes, coding: str | None = None) -> Sequence[Event]:
    """The events of a body that comes in these reads."""

    async def all_events() -> Sequence[Event]:
        return [event async for event in events(response(*reads, coding=coding))]

    return asyncio.run(all_events())


def read(*reads: bytes, coding: str | None = None) -> bytes:
    """A whole body that comes in these reads."""
    return asyncio.run(whole(response(*reads, coding=coding)))


def cut(body: bytes, places: Sequence[int]) -> Sequence[bytes]:
    """A body in reads that end at these places."""
    ends = sorted({0, *(place % (len(body) + 1) for place in places), len(body)})
    return [body[start:end] for start, end in pairwise(ends)]


line_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=12)
names = line_texts.filter(lambda name: not name.startswith(" "))
told = st.builds(Event, data=st.lists(line_texts, min_size=1, max_size=3).map("\n".join), name=names)
beside = st.lists(st.sampled_from([": ping", ":", "id: 7", "retry: 10", "unknown", "unknown: field"]), max_size=2)
places = st.lists(st.integers(min_value=0, max_value=2**16), max_size=12)


def spelled(event: Event, beside: Sequence[str]) -> Sequence[str]:
    """The lines of one event, with others that say nothing beside them."""
    return [*beside, f"event: {event.name}", *(f"data: {line}" for line in event.data.split("\n")), *beside, ""]


@settings(deadline=None)
@given(saying=st.lists(st.tuples(told, beside), max_size=5), end=st.sampled_from(["\n", "\r\n", "\r"]), places=places)
def test_events_are_the_same_however_their_lines_end_and_their_bytes_come(
    saying: Sequence[tuple[Event, Sequence[str]]], end: str, places: Sequence[int]
) -> None:
    body = "".join(line + end for event, more in saying for line in spelled(event, more)).encode()

    got = heard(*cut(body, places))

    assert got == [Event(event.data, event.name or "message") for event, _ in saying]


soup = st.lists(
    st.sampled_from(
        [b"data", b":", b" ", b"\r", b"\n", b"\r\n", b"x", b"event", b"id", b"\xef\xbb\xbf", "č".encode(), b"\xff"]
    ),
    max_size=30,
).map(b"".join)


def outcome(*reads: bytes) -> tuple[Sequence[Event], Failure | None]:
    """The events up to where the body ends or fails."""

    async def gathered() -> tuple[Sequence[Event], Failure | None]:
        got = []
        try:
            async for event in events(response(*reads)):
                got.append(event)  # noqa: PERF401  what came before a failure is kept
        except Failed as failure:
            return got, failure.failure
        return got, None

    return asyncio.run(gathered())


@settings(deadline=None)
@given(body=soup, places=places)
def test_bytes_that_are_hardly_events_mean_the_same_in_one_read_or_in_many(body: bytes, places: Sequence[int]) -> None:
    assert outcome(*cut(body, places)) == outcome(body)


@settings(deadline=None)
@given(reads=st.lists(st.binary(max_size=40), max_size=5), coding=st.sampled_from([None, "gzip", "deflate", "br"]))
def test_no_bytes_do_worse_than_fail(reads: Sequence[bytes], coding: str | None) -> None:
    try:
        got = heard(*reads, coding=coding)
    except Failed as failure:
        assert failure.failure is Failure.INVALID  # noqa: PT017  either is right
    else:
        assert all(isinstance(event, Event) for event in got)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"data: four\n\n", [Event("four")], id="one line"),
        pytest.param(b"data: four\ndata: five\n\n", [Event("four\nfive")], id="many lines are one text"),
        pytest.param(b"data:four\n\n", [Event("four")], id="the space is not needed"),
        pytest.param(b"data:  four\n\n", [Event(" four")], id="one space is left out"),
        pytest.param(b"data\n\n", [Event("")], id="no colon is an empty line"),
        pytest.param(b"data:\n\n", [Event("")], id="no text is an empty line"),
        pytest.param(b'data: {"a": 1}\n\n', [Event('{"a": 1}')], id="more colons are text"),
        pytest.param(b"event: error\ndata: four\n\n", [Event("four", "error")], id="a name"),
        pytest.param(b"event: error\nevent: end\ndata: four\n\n", [Event("four", "end")], id="the last name"),
        pytest.param(b"event: a\ndata: four\n\ndata: five\n\n", [Event("four", "a"), Event("five")], id="one's own"),
        pytest.param(b"event: error\n\ndata: four\n\n", [Event("four")], id="a name without data names nothing"),
        pytest.param(b"\xef\xbb\xbfdata: four\n\n", [Event("four")], id="a byte order mark"),
        pytest.param(b": ping\n\n:\n\n", [], id="comments"),
        pytest.param(b"id: 7\nretry: 10\n\n", [], id="what is of no use"),
        pytest.param(b"Data: four\n\n data: four\n\n", [], id="names are as they are"),
        pytest.param(b"\n\n\n", [], id="nothing"),
        pytest.param(b"", [], id="no byte"),
        pytest.param(b"data: four", [Event("four")], id="cut within a line"),
        pytest.param(b"data: four\n", [Event("four")], id="cut after a line"),
        pytest.param(b"data: four\r", [Event("four")], id="cut after half a line end"),
        pytest.param(b"data: four\r\r", [Event("four")], id="lone carriage returns"),
    ],
)
def test_an_event_is_what_its_lines_say(body: bytes, expected: Sequence[Event]) -> None:
    assert heard(body) == expected


def test_an_event_is_told_as_soon_as_its_empty_line_has_come() -> None:
    async def first() -> Event:
        async def silent() -> AsyncIterator[bytes]:
            yield b"data: four\n\n"
            await asyncio.Event().wait()

        async with asyncio.timeout(5):
            return await anext(events(httpx.Response(200, content=silent())))

    assert asyncio.run(first()) == Event("four")


def test_text_that_is_no_utf8_is_invalid() -> None:
    with pytest.raises(Failed) as raised:
        heard(b"data: \xff\n\n")

    assert raised.value.failure is Failure.INVALID


@pytest.mark.parametrize(
    "reads",
    [
        pytest.param([b"data: ", *[b"x" * 65536] * 5], id="a line without an end"),
        pytest.param([b"data: " + b"x" * FRAME_LIMIT + b"x\n\n"], id="a line with an end"),
        pytest.param([b"data: " + b"x" * 60000 + b"\n"] * 5, id="an event of many lines"),
        pytest.param([b": " + b"x" * 65536] * 5, id="a comment without an end"),
    ],
)
def test_an_event_has_a_largest_size(reads: Sequence[bytes]) -> None:
    with pytest.raises(Failed) as raised:
        heard(*reads)

    assert raised.value.failure is Failure.TOO_LARGE


def test_a_body_has_a_largest_number_of_lines() -> None:
    full = b"data: four\n\n" * (LINES_LIMIT // 2)

    assert len(heard(full)) == LINES_LIMIT // 2
    with pytest.raises(Failed) as raised:
        heard(full, b"\n")

    assert raised.value.failure is Failure.TOO_LARGE


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_others_have_their_turn_while_a_body_gives_work(coding: str | None) -> None:
    body = b"data: four\n\n" * (LINES_LIMIT // 2)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def while_reading() -> None:
        other = asyncio.create_task(take_turns())
        async for _event in events(response(body if coding is None else gzip.compress(body), coding=coding)):
            pass
        other.cancel()

    asyncio.run(while_reading())

    assert turns > 3


def test_an_event_of_the_largest_size_is_told() -> None:
    (event,) = heard(b"data: ", *[b"x" * 1024] * (FRAME_LIMIT // 1024 - 1), b"\n\n")

    assert len(event.data) == FRAME_LIMIT - 1024


def test_a_body_of_the_largest_size_is_read_and_a_larger_one_is_not() -> None:
    full = [b"x" * MIB] * (BODY_LIMIT // MIB)

    assert len(read(*full)) == BODY_LIMIT
    with pytest.raises(Failed) as raised:
        read(*full, b"x")

    assert raised.value.failure is Failure.TOO_LARGE


def test_many_small_events_are_too_much_together() -> None:
    with pytest.raises(Failed) as raised:
        heard(*[b"data: " + b"x" * 65528 + b"\n\n"] * (BODY_LIMIT // 65536 + 1))

    assert raised.value.failure is Failure.TOO_LARGE


@pytest.mark.parametrize(("coding", "compressed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("size", [1, 7, 4096], ids="in reads of {}".format)
def test_a_compressed_body_is_read_although_it_was_not_asked_for(
    coding: str, compressed: Callable[[bytes], bytes], size: int
) -> None:
    text = "".join(f"the answer is {number}, " for number in range(200)).encode()
    body = compressed(text)

    got = read(*(body[start : start + size] for start in range(0, len(body), size)), coding=coding.upper())

    assert got == text


def test_a_bomb_of_gzip_ends_at_the_largest_body_and_takes_no_more_memory() -> None:
    bomb = gzip.compress(b" " * 16 * BODY_LIMIT, compresslevel=1)
    tracemalloc.start()

    with pytest.raises(Failed) as raised:
        read(bomb, coding="gzip")

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raised.value.failure is Failure.TOO_LARGE
    assert peak < 4 * BODY_LIMIT


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip, gzip", "whatever"])
def test_a_coding_that_cannot_be_read_is_invalid(coding: str) -> None:
    with pytest.raises(Failed) as raised:
        read(b"four", coding=coding)

    assert raised.value.failure is Failure.INVALID


def test_what_is_no_gzip_is_invalid() -> None:
    with pytest.raises(Failed) as raised:
        read(b"four", coding="gzip")

    assert raised.value.failure is Failure.INVALID


def test_the_beginning_of_a_body_is_not_all_of_it() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100

    got = asyncio.run(beginning(httpx.Response(500, content=endless()), 250))

    assert got == b"x" * 300


def test_lines_have_no_ends() -> None:
    async def all_lines() -> Sequence[bytes]:
        return [line async for line in lines(response(b"one\ntwo\r", b"\nthree\rfour"))]

    assert asyncio.run(all_lines()) == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize("text", [b"", b"four", b"{", b'"\xff"', b"[" * 100_000, b"9" * 5000], ids=range(6))
def test_what_is_no_json_is_invalid(text: bytes) -> None:
    with pytest.raises(Failed) as raised:
        parsed(text)

    assert raised.value.failure is Failure.INVALID


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (400, b"", Failure.STATUS_4XX),
        (401, b"Loading model", Failure.UNAUTHORIZED),
        (403, b"", Failure.STATUS_4XX),
        (404, b"busy", Failure.NOT_FOUND),
        (418, b"", Failure.STATUS_4XX),
        (424, b"", Failure.STATUS_5XX),
        (429, b"overloaded", Failure.RATE_LIMITED),
        (499, b"", Failure.STATUS_4XX),
        (500, b"Loading model", Failure.STATUS_5XX),
        (503, b"", Failure.STATUS_5XX),
        (503, b"upstream connect error", Failure.STATUS_5XX),
        (503, b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}', Failure.LOADING),
        (503, b"The server is STARTING up", Failure.LOADING),
        (503, b"warming up, the queue waits", Failure.LOADING),
        (503, b'{"error":{"code":503,"message":"no slot available"}}', Failure.BUSY),
        (503, b"Model is overloaded", Failure.BUSY),
        (503, b"server busy, please try again.  maximum pending requests exceeded", Failure.BUSY),
        (599, b"", Failure.STATUS_5XX),
        (300, b"", Failure.REDIRECTED),
        (304, b"", Failure.REDIRECTED),
        (308, b"", Failure.REDIRECTED),
    ],
)
def test_a_status_has_its_reason_and_the_body_of_a_503_says_more(status: int, body: bytes, failure: Failure) -> None:
    assert refusal(status, body) is failure


def test_a_status_of_success_is_accepted_with_or_without_a_body() -> None:
    asyncio.run(accepted(response(b"ok")))
    asyncio.run(accepted(response(status=204)))


def test_a_status_without_a_body_is_no_answer() -> None:
    with pytest.raises(Failed) as raised:
        asyncio.run(answered(response(status=204)))

    assert raised.value.failure is Failure.EMPTY


def test_a_refusal_tells_its_status_and_nothing_of_its_body() -> None:
    with pytest.raises(Failed) as raised:
        asyncio.run(answered(response(b"a secret", status=503)))

    assert raised.value.detail == "status 503"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${text}", "Count."),
        ("say ${text} and ${nonce}", "say Count. and 0a1b2c3d"),
        (
            {"inputs": [{"data": ["${text}", {"seed": "${nonce}"}]}]},
            {"inputs": [{"data": ["Count.", {"seed": "0a1b2c3d"}]}]},
        ),
        ("${text}${text}", "Count.Count."),
        ("${other} and ${TEXT} and ${ text }", "${other} and ${TEXT} and ${ text }"),
        ("$", "$"),
        ("5 $ or $5", "5 $ or $5"),
        ("$$x^2$$", "$$x^2$$"),
        ("$text", "$text"),
        ([1, 2.5, True, None], [1, 2.5, True, None]),
        ({"${text}": 1}, {"${text}": 1}),
    ],
)
def test_the_marks_of_a_template_are_filled_in_and_nothing_else(template: Json, expected: Json) -> None:
    assert filled(template, Prompt(text="Count.", nonce="0a1b2c3d")) == expected


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    assert filled("${text}", Prompt(text="${nonce}", nonce="0a1b2c3d")) == "${nonce}"


async def got(url: str, method: str = "GET", tls: ssl.SSLContext | None = None) -> bytes:
    """The body at a place, asked for with a key and within 5 s."""
    async with asyncio.timeout(5), client(url, tls, connect=0.3) as asking:
        content = b"hello" if method == "POST" else None
        request = asking.build_request(method, "/health", content=content, headers={"Authorization": "Bearer key"})
        async with opened(asking, request, None) as response:
            await answered(response)
            return await whole(response)


async def fault(url: str, method: str = "GET", tls: ssl.SSLContext | None = None) -> Failure:
    """What the failure of that is called."""
    try:
        await got(url, method, tls)
    except FAULTS as error:
        return failed(error).failure
    raise AssertionError("it did not fail")


def answering(answer: Answer) -> Callable[[Stage], str]:
    return lambda stage: stage.serve({"GET /health": answer}).url


def secured(stage: Stage) -> str:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(CERTIFICATE)
    return stage.serve({"GET /health": reply("ok")}, tls=own).url


CHUNKED = head(200, "Transfer-Encoding: chunked")
LONG = head(200, "Content-Length: 1000")
REAL = {
    "refused": (lambda stage: f"http://127.0.0.1:{stage.closed_port()}", Failure.REFUSED),
    "unroutable": (lambda _stage: "http://224.0.0.1:8000", Failure.UNREACHABLE),
    "a name that no one has": (lambda _stage: "http://nonexistent.invalid", Failure.RESOLVE),
    "a name that no one can have": (lambda _stage: f"http://{'x' * 64}.invalid", Failure.INVALID),
    "connections not taken": (lambda stage: f"http://127.0.0.1:{stage.crowded_port()}", Failure.TIMEOUT_CONNECT),
    "no TLS there": (lambda stage: stage.serve({}).url.replace("http:", "https:"), Failure.TLS),
    "a certificate of no authority": (secured, Failure.TLS),
    "reset at once": (answering(script(Ending.RESET)), Failure.DISCONNECTED),
    "reset within the body": (answering(script(LONG, b"x", 0.05, Ending.RESET)), Failure.DISCONNECTED),
    "closed at once": (answering(script()), Failure.DISCONNECTED),
    "closed within the head": (answering(script(b"HTTP/1.1 200 OK\r\nConte")), Failure.DISCONNECTED),
    "closed within the body": (answering(script(LONG, b"x")), Failure.DISCONNECTED),
    "closed between chunks": (answering(script(CHUNKED, *chunks(b"x"))), Failure.DISCONNECTED),
    "another protocol": (answering(script(b"220 mail.example ESMTP\r\n\r\n")), Failure.INVALID),
    "a chunk without a size": (answering(script(CHUNKED, b"size\r\nx\r\n")), Failure.INVALID),
    "a refusal": (answering(reply("", HTTPStatus.NOT_FOUND)), Failure.NOT_FOUND),
}


@pytest.mark.parametrize(("place", "failure"), REAL.values(), ids=REAL)
def test_a_real_error_has_its_reason(place: Callable[[Stage], str], failure: Failure, stage: Stage) -> None:
    trusting_none = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    assert asyncio.run(fault(place(stage), tls=trusting_none)) is failure


def test_a_failure_comes_whole_out_of_another_process() -> None:
    failure = Failed(Failure.INVALID, "not JSON")

    sent = pickle.loads(pickle.dumps(failure))

    assert (sent.failure, sent.detail) == (Failure.INVALID, "not JSON")


def test_an_error_of_ours_is_not_blamed_on_the_service() -> None:
    with pytest.raises(ZeroDivisionError):
        failed(ZeroDivisionError())


def test_a_failure_outlasts_what_it_was_wrapped_in() -> None:
    inner = Failed(Failure.BUSY, "status 503")
    outer = OSError("whatever")
    outer.__cause__ = inner

    assert failed(outer).failure is Failure.BUSY
    assert failed(outer).detail == inner.detail


def _mentioned(tree: ast.AST) -> Iterator[str]:
    """The failures that a tree names, such as REFUSED in `Failure.REFUSED`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Failure":
            yield node.attr


def test_every_failure_can_happen() -> None:
    trees = [ast.parse(file.read_text()) for file in EXPORTER.rglob("*.py")]
    functions = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    raised = {Failure[name] for function in functions for name in _mentioned(function)}

    never = set(Failure) - raised - set(CAUSES.values()) - set(STATUSES.values())

    # The contract names them for answers that a check of their text and numbers finds wrong.
    assert never <= {Failure.REPETITIVE, Failure.OUT_OF_RANGE}


def test_a_redirect_within_the_origin_is_followed_as_it_was_asked(stage: Stage) -> None:
    service = stage.serve({"POST /health": reply("", 307, "Location: /b?c=d"), "POST /b?c=d": reply("there")})

    body = asyncio.run(got(service.url, method="POST"))

    assert body == b"there"
    assert [(it.body, it.headers["authorization"]) for it in service.requests] == [(b"hello", "Bearer key")] * 2


def test_redirects_are_followed_three_times(stage: Stage) -> None:
    service = stage.serve({"GET /health": in_turn(*[reply("", 307, "Location: /health")] * 3, reply("there"))})

    assert asyncio.run(got(service.url)) == b"there"


def test_redirects_are_not_followed_four_times(stage: Stage) -> None:
    service = stage.serve({"GET /health": in_turn(*[reply("", 307, "Location: /health")] * 4, reply("there"))})

    assert asyncio.run(fault(service.url)) is Failure.REDIRECTED
    assert len(service.requests) == 4


@pytest.mark.parametrize("place", ["http://localhost:{port}/", "https://127.0.0.1:{port}/", "//127.0.0.1:{port}/"])
def test_no_redirect_leads_to_another_origin(place: str, stage: Stage) -> None:
    other = stage.serve({})
    location = place.format(port=other.url.rpartition(":")[2])
    service = stage.serve({"GET /health": reply("", 307, f"Location: {location}")})

    assert asyncio.run(fault(service.url)) is Failure.REDIRECTED
    assert other.requests == []


def test_a_redirect_that_would_make_a_get_of_a_post_is_not_followed(stage: Stage) -> None:
    service = stage.serve({"POST /health": reply("", 303, "Location: /b")})

    assert asyncio.run(fault(service.url, method="POST")) is Failure.REDIRECTED
    assert len(service.requests) == 1
