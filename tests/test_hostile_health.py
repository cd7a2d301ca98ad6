"""What a service may do to a health check, one row each: it gets its reason and its count, and nothing else happens."""

import gzip
import json
from collections.abc import Iterator

import pytest

from tests.hostile import (
    BAD_CHUNK,
    CERTIFICATE,
    CLOSED,
    CUT,
    DEEP,
    ELSEWHERE,
    ENDLESS_BODY,
    ENDLESS_HEAD,
    GARBAGE,
    HUGE_NUMBER,
    MIB,
    NO_GZIP,
    RESET,
    TORN_HEAD,
    TWO_LENGTHS,
    Aftermath,
    Place,
    Row,
    at,
    crowded,
    dripping,
    endured,
    gzip_bomb,
    heavy,
    nameless,
    plain_behind_https,
    redirecting,
    refusing,
    self_signed,
    unroutable,
)
from tests.services.scripted import FOREVER, Answer, head, reply, script

HEALTH = "GET /health"
JSON = "Content-Type: application/json"
ACTIVE = {"service_status": "active", "model": {"loaded": True, "replicas": [1, 2]}}


def checked(name: str, reason: str | None, place: Place, **health: object) -> Row:
    """A service of which only the health is watched."""
    off = {"prompt": {"enabled": False}}
    return Row(name=name, reason=reason, place=place, watched_by="health", watching=health, settings=off)


def health(answer: Answer) -> Place:
    return at({HEALTH: answer})


def told(document: object) -> Place:
    return health(reply(json.dumps(document), 200, JSON))


def word(text: str | bytes, status: int = 200) -> Place:
    return health(reply(text, status))


SECURED = self_signed({HEALTH: reply("ok")})

FAILING = [
    *heavy(
        checked("endless-head", "invalid", health(ENDLESS_HEAD)),
        checked("endless-body", "too_large", health(ENDLESS_BODY)),
        checked("gzip-bomb", "too_large", health(gzip_bomb(b" ", "application/json"))),
    ),
    checked("refused", "refused", refusing),
    checked("unroutable", "unreachable", unroutable),
    checked("name-unknown", "resolve", nameless),
    checked("tls-to-a-plain-port", "tls", plain_behind_https),
    checked("certificate-self-signed", "tls", SECURED),
    checked("connection-never-taken", "timeout_connect", crowded, timeout="2s"),
    checked("head-never-comes", "timeout_total", health(script(FOREVER)), timeout="2s"),
    checked("head-drips", "timeout_total", health(dripping(head(200)[:-2], b"X: y\r\n")), timeout="2s"),
    checked("only-1xx", "timeout_total", health(dripping(head(100), head(100))), timeout="2s"),
    checked("body-drips", "timeout_total", health(dripping(head(200), b"o")), timeout="2s"),
    checked("closed-before-any-byte", "disconnected", health(CLOSED)),
    checked("closed-within-the-head", "disconnected", health(TORN_HEAD)),
    checked("closed-within-the-body", "disconnected", health(CUT)),
    checked("reset-within-the-body", "disconnected", health(RESET)),
    checked("another-protocol", "invalid", health(GARBAGE)),
    checked("two-lengths", "invalid", health(TWO_LENGTHS)),
    checked("bad-chunk", "invalid", health(BAD_CHUNK)),
    checked("gzip-that-is-none", "invalid", health(NO_GZIP)),
    checked("status-400", "status_4xx", word("", 400)),
    checked("status-401", "unauthorized", word("", 401)),
    checked("status-404", "not_found", word("", 404)),
    checked("status-429", "rate_limited", word("", 429)),
    checked("status-500", "status_5xx", word("", 500)),
    checked("status-503", "status_5xx", word("", 503)),
    checked("status-503-loading", "loading", word('{"error": {"message": "Loading model"}}', 503)),
    checked("status-503-busy", "busy", word("The engine is currently busy", 503)),
    checked("redirect-elsewhere", "redirected", health(redirecting(ELSEWHERE))),
    checked("redirect-round-and-round", "redirected", health(redirecting("/health"))),
    checked("redirect-to-nowhere", "redirected", word("", 302)),
    checked("status-not-expected", "unexpected", word("ok", 200), expect={"status": [204, 206]}),
    checked("text-missing", "unexpected", word("NOT READY"), expect={"text": "all is well"}),
    checked("field-differs", "unexpected", told({"service_status": "degraded"}), expect={"json": ACTIVE}),
    checked("field-missing", "unexpected", told({"status": "active"}), expect={"json": {"service_status": "active"}}),
    checked("field-of-another-kind", "unexpected", told({"ready": 1}), expect={"json": {"ready": True}}),
    checked("no-json", "invalid", word("ok"), expect={"json": {"service_status": "active"}}),
    checked("no-utf8", "invalid", word(b'{"a": "\xff"}'), expect={"json": {"a": "b"}}),
    checked("no-json-to-take-values-of", "invalid", word("ok"), values=["cpu_usage"]),
    checked("too-deep", "invalid", word(DEEP), values=["cpu_usage"]),
    checked("number-too-long", "invalid", word(f'{{"cpu_usage": {HUGE_NUMBER}}}'), values=["cpu_usage"]),
]

VALUES = {
    "cpu_usage": 12.5,
    "gpu_available": True,
    "degraded": False,
    "nested": {"queue": [3, 4]},
    "status": "active",
    "nothing": None,
    "listed": [1],
}
LARGE = b'{"padding": [' + b"0," * (4 * MIB - 1000) + b'0], "cpu_usage": 7}'

GOOD = [
    checked("ordinary", None, word("ok")),
    checked("nothing-to-say", None, health(script(head(204, "Connection: close")))),
    checked("informed-first", None, health(script(head(100), head(103, "Link: </x>"), head(200), b"ok"))),
    checked("http-1.0", None, health(script(head(200, version="1.0"), b"ok"))),
    checked("certificate-known", None, SECURED).having(tls={"ca_file": str(CERTIFICATE)}),
    checked("redirect-at-home", None, at({HEALTH: redirecting("/there", 302), "GET /there": reply("ok")})),
    checked("elsewhere-by-path", None, at({"GET /ping": reply("ok")}), path="/ping"),
    checked(
        "gzip",
        None,
        health(reply(gzip.compress(b"all is well"), 200, "Content-Encoding: gzip")),
        expect={"text": "all is well"},
    ),
    checked("status-expected", None, word("", 503), expect={"status": [200, 503]}),
    checked("text-found", None, word("today all is well"), expect={"text": "all is well"}),
    checked(
        "fields-found",
        None,
        told(ACTIVE),
        expect={"json": {"service_status": "active", "model.loaded": True, "$.model.replicas[1]": 2}},
    ),
    checked("values", None, told(VALUES), values=[*VALUES, "nested.queue.1", "missing"]),
    *heavy(checked("values-of-8-mib", None, word(LARGE), values=["cpu_usage"])),
    checked(
        "values-no-gauge-holds", None, word('{"a": NaN, "b": 1e999, "c": 1' + "0" * 400 + "}"), values=["a", "b", "c"]
    ),
]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    """The one program that lives through all of it."""
    with endured([*FAILING, *GOOD], tmp_path_factory.mktemp("health")) as aftermath:
        yield aftermath


@pytest.mark.parametrize("row", FAILING, ids=str)
def test_a_wrong_answer_is_counted_by_its_reason(row: Row, aftermath: Aftermath) -> None:
    assert set(aftermath.failures(row)) == {row.reason}, aftermath.told(row)
    assert aftermath.up(row) == 0


@pytest.mark.parametrize("row", GOOD, ids=str)
def test_an_unusual_answer_that_is_right_is_good(row: Row, aftermath: Aftermath) -> None:
    assert aftermath.failures(row) == {}, aftermath.told(row)
    assert aftermath.up(row) == 1


def test_numbers_and_booleans_are_published_and_nothing_else(aftermath: Aftermath) -> None:
    values = {it.labels["field"]: it.value for it in aftermath.page.samples("model_health_value", target="values")}

    assert values == {"cpu_usage": 12.5, "gpu_available": 1, "degraded": 0, "nested.queue.1": 4}


def test_a_value_at_the_end_of_a_large_body_is_published(aftermath: Aftermath) -> None:
    value = aftermath.page.value("model_health_value", target="values-of-8-mib", field="cpu_usage")

    assert value == 7


def test_what_is_no_finite_number_is_absent(aftermath: Aftermath) -> None:
    values = aftermath.page.samples("model_health_value", target="values-no-gauge-holds")

    assert values == []


def test_a_service_that_fails_has_no_values(aftermath: Aftermath) -> None:
    values = aftermath.page.samples("model_health_value", target="too-deep")

    assert values == []


def test_a_service_whose_prompts_are_off_is_sent_none(aftermath: Aftermath) -> None:
    asked = {request.method for service in aftermath.services.values() for request in service.requests}

    assert asked == {"GET"}


def test_nothing_is_asked_at_another_origin(aftermath: Aftermath) -> None:
    assert aftermath.services["redirect-elsewhere"].asked("GET", "/stolen") == []


def test_nothing_that_a_service_does_is_a_failure_to_look(aftermath: Aftermath) -> None:
    page = aftermath.daemon.scrape()

    failed = [it for it in page.samples("model_sidecar_collection_failures_total") if it.value]

    assert failed == []
    assert "Traceback" not in aftermath.daemon.log
