"""The health source: what a healthy answer is, what is published of it, and what the certificate says."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.apart import JUDGED_HERE
from exporter.paths import Json
from exporter.reading import Reading
from exporter.sources.health import Asked, Certificate, Expectation, Health, HealthEndpoint, verdict
from exporter.watch import Clock, Watch
from exporter.wire import Failed, Failure
from tests.services.client import client
from tests.services.recorded import recorded
from tests.services.scripted import FOREVER, Answer, Request, Service, Stage, head, in_turn, reply, script

CERTIFICATE = Path(__file__).parent.parent / "services" / "self-signed.pem"
ANY = Expectation()


def serving(stage: Stage, answer: Answer, tls: ssl.SSLContext | None = None) -> Service:
    return stage.serve({"GET /health": answer}, tls=tls)


def endpoint(asking: httpx.AsyncClient, url: str, expected: Expectation = ANY, timeout: float = 10.0) -> HealthEndpoint:
    """The source of one service's health."""
    request = httpx.Request("GET", f"{url}/health", headers={"X-Key": "key"})

    async def asked() -> Asked:
        return Asked(requests=[request], timeout=timeout)

    return HealthEndpoint(asking, asked, target="chat", expected=expected)


def read(
    url: str, looks: int = 1, *, expected: Expectation = ANY, tls: ssl.SSLContext | None = None, timeout: float = 10.0
) -> Sequence[Reading]:
    """The last word of each of so many looks."""

    async def looked() -> Sequence[Reading]:
        async with client(url, tls) as asking:
            source = endpoint(asking, url, expected, timeout)
            return [reading for _ in range(looks) for reading in [said async for said in source.read()][-1]]

    return asyncio.run(looked())


def health(url: str, looks: int = 1, *, expected: Expectation = ANY, timeout: float = 10.0) -> Sequence[Health]:
    """The health after each of so many looks."""
    said = read(url, looks, expected=expected, timeout=timeout)
    return [reading for reading in said if isinstance(reading, Health)]


def happened(counts: Mapping[str, int]) -> Mapping[str, int]:
    """What was counted at all."""
    return {reason: count for reason, count in counts.items() if count}


def judged(document: object, expected: Expectation) -> Mapping[str, float] | None:
    """What a healthy body says of itself."""
    return verdict(json.dumps(document).encode(), expected)


def fault(document: object, expected: Expectation) -> Failure:
    """What it is called that a body is not as expected."""
    with pytest.raises(Failed) as raised:
        judged(document, expected)
    return raised.value.failure


ACTIVE = {"status": "active", "ready": True, "replicas": 2, "load": 0.5, "model": {"names": ["a", "b"]}, "error": None}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"status": "active"},
        {"ready": True},
        {"replicas": 2},
        {"replicas": 2.0},
        {"load": 0.5},
        {"error": None},
        {"model": {"names": ["a", "b"]}},
        {"model.names.1": "b"},
        {"$.model.names[-1]": "b"},
        {"status": "active", "ready": True},
    ],
)
def test_fields_that_are_as_expected_are_healthy(wanted: Mapping[str, Json]) -> None:
    assert judged(ACTIVE, Expectation(json=wanted)) in (None, {})


@pytest.mark.parametrize(
    "wanted",
    [
        {"status": "Active"},
        {"ready": False},
        {"ready": 1},
        {"ready": "true"},
        {"replicas": 3},
        {"replicas": True},
        {"missing": None},
        {"error": "none"},
        {"model.names": ["b", "a"]},
        {"model.names.2": "c"},
        {"status": "active", "ready": False},
    ],
)
def test_a_field_that_is_not_as_expected_is_unexpected(wanted: Mapping[str, Json]) -> None:
    assert fault(ACTIVE, Expectation(json=wanted)) is Failure.UNEXPECTED


def test_numbers_and_booleans_are_published_and_nothing_else() -> None:
    values = judged(ACTIVE, Expectation(values=[*ACTIVE, "model.names.0", "missing"]))

    assert values == {"ready": 1.0, "replicas": 2.0, "load": 0.5}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
def test_what_is_no_finite_number_is_not_published(number: str) -> None:
    assert verdict(f'{{"n": {number}}}'.encode(), Expectation(values=["n"])) == {}


def test_a_body_that_is_not_asked_for_fields_may_be_anything() -> None:
    assert verdict(b"\xff\x00", ANY) is None
    assert verdict(b"all is well", Expectation(text="is well")) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab0"), inner, max_size=3),
    max_leaves=8,
)
paths = st.sampled_from(["a", "a.b", "b.0", "0.-1", "$", "$.a", "$..b", "$[?@.a]"])


@settings(deadline=None, max_examples=50)
@given(
    body=anything.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20),
    values=st.lists(paths, max_size=2),
    wanted=st.dictionaries(paths, anything, max_size=2),
)
def test_no_body_does_worse_than_fail(body: bytes, values: Sequence[str], wanted: Mapping[str, Json]) -> None:
    try:
        told = verdict(body, Expectation(json=wanted, values=values))
    except Failed:
        return
    assert told is None or set(told) <= set(values)


def test_a_real_service_is_healthy_in_its_own_words(stage: Stage) -> None:
    service = stage.serve(recorded("flask-json/get_health"))
    expected = Expectation(status=[200], text="sentiment", json={"model": "sentiment-v3"}, values=["loaded", "ok"])

    (said,) = health(service.url, expected=expected)

    assert said.up is True
    assert said.value == {"loaded": 1.0, "ok": 1.0}
    assert said.last_duration_seconds is not None
    assert said.last_duration_seconds > 0


def test_the_request_is_sent_as_it_was_made(stage: Stage) -> None:
    service = serving(stage, reply("ok"))

    health(service.url)

    (request,) = service.requests
    assert (request.method, request.path, request.headers["x-key"]) == ("GET", "/health", "key")


def test_checks_add_up_over_the_rounds(stage: Stage) -> None:
    service = serving(stage, in_turn(reply("ok"), reply("", 500), reply("", 500), reply("", 401), reply("ok")))

    said = health(service.url, 5)

    assert [it.attempts for it in said] == [1, 2, 3, 4, 5]
    assert [it.up for it in said] == [True, False, False, False, True]
    assert happened(said[-1].failures) == {"status_5xx": 2, "unauthorized": 1}


def test_every_reason_that_a_check_can_have_stands_at_zero_from_the_start(stage: Stage) -> None:
    (said,) = health(serving(stage, reply("ok")).url)

    assert set(said.failures) < set(Failure)
    assert {"refused", "timeout_total", "status_5xx", "unexpected"} <= set(said.failures)
    assert "timeout_first_token" not in said.failures


def test_nothing_that_was_told_of_a_good_answer_outlives_a_failure(stage: Stage) -> None:
    service = serving(stage, in_turn(reply('{"load": 0.5}'), script()))

    good, bad = health(service.url, 2, expected=Expectation(values=["load"]))

    assert good.value == {"load": 0.5}
    assert (bad.up, bad.value, bad.last_duration_seconds) == (False, None, None)
    assert bad.last is not None
    assert bad.last.failed is not None


def test_a_failure_is_gone_with_the_next_good_answer(stage: Stage) -> None:
    _, good = health(serving(stage, in_turn(reply("", 500), reply("ok"))).url, 2)

    assert str(good.last) == "answered"


def test_an_attempt_is_counted_while_the_service_is_silent(stage: Stage) -> None:
    begun = Event()

    def silent(_request: Request) -> Sequence[float]:
        begun.set()
        return (FOREVER,)

    service = serving(stage, silent)

    async def meanwhile() -> Sequence[Reading]:
        async with client(service.url) as asking:
            watch = Watch(endpoint(asking, service.url).read, Clock(every=lambda: 15.0, timeout=20.0), source="health")
            look = asyncio.create_task(watch.once())
            assert await asyncio.to_thread(begun.wait, 5)
            said = watch.latest
            look.cancel()
            return said

    (asked,) = [reading for reading in asyncio.run(meanwhile()) if isinstance(reading, Health)]

    assert (asked.attempts, asked.up) == (1, None)


@pytest.mark.parametrize(
    ("status", "expected", "failure"),
    [
        (200, ANY, None),
        (299, ANY, None),
        (204, ANY, None),
        (404, ANY, Failure.NOT_FOUND),
        (503, Expectation(status=[200, 503]), None),
        (200, Expectation(status=[503]), Failure.UNEXPECTED),
        (404, Expectation(status=[200]), Failure.NOT_FOUND),
        (500, Expectation(status=[200]), Failure.STATUS_5XX),
    ],
)
def test_a_status_is_healthy_where_it_is_expected(
    status: int, expected: Expectation, failure: Failure | None, stage: Stage
) -> None:
    service = serving(stage, script(head(status, "Connection: close")))

    (said,) = health(service.url, expected=expected)

    assert happened(said.failures) == ({} if failure is None else {failure: 1})


def test_an_answer_that_does_not_end_in_time_is_late(stage: Stage) -> None:
    service = serving(stage, script(head(200), b"ok", FOREVER))

    (said,) = health(service.url, timeout=0.5)

    assert happened(said.failures) == {"timeout_total": 1}


def test_a_connection_that_is_not_taken_in_time_has_a_reason_of_its_own(stage: Stage) -> None:
    (said,) = health(f"http://127.0.0.1:{stage.crowded_port()}", timeout=0.3)

    assert happened(said.failures) == {"timeout_connect": 1}


def test_a_long_body_is_judged_apart_and_comes_to_the_same_as_a_short_one(stage: Stage) -> None:
    bodies = [f'{{"padding": "{"x" * length}", "load": 0.5}}' for length in (1, JUDGED_HERE + 1)]
    service = serving(stage, in_turn(*map(reply, bodies)))

    short, long = health(service.url, 2, expected=Expectation(json={"load": 0.5}, values=["load"]))

    assert short.value == long.value == {"load": 0.5}


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


def certificates(said: Sequence[Reading]) -> Sequence[Certificate]:
    return [reading for reading in said if isinstance(reading, Certificate)]


def test_the_end_of_the_certificate_is_told(stage: Stage) -> None:
    service = serving(stage, reply("ok"), own())

    (certificate,) = certificates(read(service.url, tls=trusting()))

    assert certificate.target == "chat"
    assert time.strftime("%F", time.gmtime(certificate.expiry_timestamp_seconds)) == "2120-01-01"


def test_a_certificate_that_is_not_verified_is_not_told(stage: Stage) -> None:
    service = serving(stage, reply("ok"), own())
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE

    said = read(service.url, tls=careless)

    assert [reading.up for reading in said if isinstance(reading, Health)] == [True]
    assert certificates(said) == []


def test_without_tls_no_certificate_is_told(stage: Stage) -> None:
    assert certificates(read(serving(stage, reply("ok")).url)) == []


def test_the_certificate_of_an_unhealthy_service_is_told_all_the_same(stage: Stage) -> None:
    service = serving(stage, reply("", 503), own())

    said = read(service.url, tls=trusting())

    assert [reading.up for reading in said if isinstance(reading, Health)] == [False]
    assert len(certificates(said)) == 1


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], Sequence[str]]:
    """What has been logged so far, each line with its level."""
    caplog.set_level(logging.INFO, logger="exporter")
    return lambda: [f"{it.levelname} {it.getMessage()}" for it in caplog.records if it.name.startswith("exporter")]


def test_changes_are_told_and_nothing_else(stage: Stage, logged: Callable[[], Sequence[str]]) -> None:
    service = serving(stage, in_turn(*map(reply, ["ok", "ok"]), reply("", 500), reply("", 429), reply("ok")))

    health(service.url, 6)

    assert [line.split(":")[0] for line in logged()] == [
        "INFO health check is as expected",
        "WARNING health check fails",
        "INFO health check is as expected",
    ]
