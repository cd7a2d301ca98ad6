"""What a service may do to a prompt, one row each: it gets its reason and its count, and the program does not mind."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.hostile import (
    BAD_CHUNK,
    BAD_FIELD,
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
    TORN_HEAD,
    TWO_LENGTHS,
    Aftermath,
    Place,
    Row,
    at,
    crowded,
    dripping,
    endless,
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
from tests.services.openai import ANSWER, CHAT, DONE, GOOD, ROLE, STOP, WORDS, frame, last, models, piece, spent
from tests.services.scripted import (
    FOREVER,
    STREAM_HEAD,
    Answer,
    Ending,
    Step,
    chunks,
    head,
    reply,
    script,
    stream,
)

KEY = "sk-nobody-else-may-read-this"
SSE = "Content-Type: text/event-stream"
JSON = "Content-Type: application/json"
GZIP = "Content-Encoding: gzip"
POST_CHAT = f"POST {CHAT}"
TEXT = b"".join(ANSWER)
BLANK = b"\n" * (MIB // 2)


def asked(name: str, reason: str | None, place: Place, **prompt: object) -> Row:
    """A service known to speak the chat protocol, of which no health is watched."""
    watching = {"protocol": "openai-chat", **prompt}
    settings = {"model": "tiny", "health": {"enabled": False}}
    return Row(name=name, reason=reason, place=place, watching=watching, settings=settings)


def chat(answer: Answer) -> Place:
    return at({POST_CHAT: answer})


def says(*steps: Step) -> Place:
    """A service that streams this, after its role."""
    return chat(stream(ROLE, *steps))


def body(text: str | bytes, status: int = 200) -> Place:
    return chat(reply(text, status, JSON))


def begun(*steps: Step) -> tuple[Step, ...]:
    """An answer that has begun well and has not ended."""
    return STREAM_HEAD, *chunks(ROLE, *WORDS, *steps)


SECURED = self_signed({POST_CHAT: GOOD})
ENGINE_ERROR = {"message": "CUDA out of memory", "type": "InternalServerError", "code": 500}
ANOTHER_CODING = reply(TEXT, 200, SSE, "Content-Encoding: zstd")
PINGED = b": ping\n\n"

NETWORK = [
    asked("refused", "refused", refusing),
    asked("unroutable", "unreachable", unroutable),
    asked("name-unknown", "resolve", nameless),
    asked("tls-to-a-plain-port", "tls", plain_behind_https),
    asked("certificate-self-signed", "tls", SECURED),
    asked("connection-never-taken", "timeout_connect", crowded, first_token_timeout="2s"),
    asked("closed-before-any-byte", "disconnected", chat(CLOSED)),
    asked("closed-within-the-head", "disconnected", chat(TORN_HEAD)),
    asked("closed-within-the-body", "disconnected", chat(CUT)),
    asked("reset-before-any-byte", "disconnected", chat(script(0.05, Ending.RESET))),
    asked("reset-within-the-stream", "disconnected", chat(script(*begun(0.1, Ending.RESET)))),
    asked("closed-within-the-stream", "disconnected", chat(script(*begun()))),
    asked("stream-without-an-end", "disconnected", says(*WORDS)),
]

PLAIN = {"protocol": "plain", "path": CHAT, "body": {"text": "${text}"}, "answer": "label"}
HURRIED = dict.fromkeys(("first_token_timeout", "stall_timeout", "timeout"), "2s")

DEADLINES = [
    asked("head-never-comes", "timeout_first_token", chat(script(FOREVER)), first_token_timeout="2s"),
    asked("head-drips", "timeout_first_token", chat(dripping(head(200)[:-2], b"X: y\r\n")), first_token_timeout="2s"),
    asked("only-1xx", "timeout_first_token", chat(dripping(head(100), head(100))), first_token_timeout="2s"),
    asked("head-and-no-more", "timeout_first_token", chat(script(STREAM_HEAD, FOREVER)), first_token_timeout="2s"),
    asked("role-and-no-more", "timeout_first_token", says(FOREVER), first_token_timeout="2s"),
    asked(
        "pings-and-no-token",
        "timeout_first_token",
        chat(dripping(head(200, SSE), PINGED)),
        first_token_timeout="2s",
    ),
    asked("tokens-then-silence", "timeout_stall", says(*WORDS, FOREVER), stall_timeout="2s"),
    asked(
        "tokens-then-pings",
        "timeout_stall",
        chat(dripping(head(200, SSE) + WORDS[0], PINGED)),
        stall_timeout="2s",
    ),
    asked("tokens-for-ever", "timeout_total", chat(dripping(head(200, SSE), WORDS[0])), **HURRIED),
    asked("body-drips", "timeout_total", chat(dripping(head(200, JSON), b" ")), **PLAIN, **HURRIED),
]

SIZES = heavy(
    asked("endless-head", "invalid", chat(ENDLESS_HEAD)),
    asked("endless-body", "too_large", chat(ENDLESS_BODY)),
    asked("endless-line", "too_large", chat(endless(head(200, SSE), b"data: ", b"x" * 65536))),
    asked("endless-event", "too_large", chat(endless(head(200, SSE), b"data: " + b"x" * 65000 + b"\n"))),
    asked(
        "endless-fast-stream",
        "too_large",
        chat(endless(head(200, SSE), piece(content="word " * 4000) * 3)),
    ),
    asked("event-of-a-mebibyte", "too_large", says(piece(content="x" * MIB), STOP, DONE)),
    asked("empty-lines-of-an-event", "too_large", chat(reply(b"data:\n" * 300_000, 200, SSE))),
    asked("many-empty-lines", "too_large", chat(reply(BLANK + TEXT, 200, SSE))),
    asked("many-empty-lines-in-gzip", "too_large", chat(reply(gzip.compress(BLANK + TEXT), 200, SSE, GZIP))),
    asked("gzip-bomb", "too_large", chat(gzip_bomb(b" ", "application/json"))),
    asked("gzip-bomb-of-lines", "too_large", chat(gzip_bomb(b"\n", "text/event-stream"))),
)

NONSENSE = [
    asked("another-protocol", "invalid", chat(GARBAGE)),
    asked("two-lengths", "invalid", chat(TWO_LENGTHS)),
    asked("bad-chunk", "invalid", chat(BAD_CHUNK)),
    asked("bad-field", "invalid", chat(BAD_FIELD)),
    asked("gzip-that-is-none", "invalid", chat(NO_GZIP)),
    asked("coding-not-asked-for", "invalid", chat(ANOTHER_CODING)),
    asked("frame-cut-short", "invalid", says(b'data: {"choices": [\n\n')),
    asked("frame-no-json", "invalid", says(b"data: hello\n\n")),
    asked("frame-no-object", "invalid", says(frame([1, 2]))),
    asked("frame-no-utf8", "invalid", says(WORDS[0].replace(b"answer", b"\xff\xfe"))),
    asked("frame-too-deep", "invalid", says(f"data: {DEEP}\n\n".encode())),
    asked("number-too-long", "invalid", says(f'data: {{"created": {HUGE_NUMBER}}}\n\n'.encode())),
    asked("half-a-character", "invalid", says(WORDS[0].replace(b"answer", rb"\ud800"), STOP, DONE)),
    asked("choices-no-list", "invalid", says(frame({"choices": 7}))),
    asked("choice-no-object", "invalid", says(frame({"choices": [None]}))),
    asked("delta-no-object", "invalid", says(frame({"choices": [{"delta": "four"}]}))),
    asked("page-for-people", "invalid", chat(reply("<html>It works!</html>", 200, "Content-Type: text/html"))),
    asked("body-no-json", "invalid", body("<html>It works!</html>")),
    asked("body-no-utf8", "invalid", body(b'{"choices": "\xff"}')),
    asked("body-too-deep", "invalid", body(DEEP)),
]

STATUSES = [
    asked("status-204", "empty", chat(script(head(204, "Connection: close")))),
    asked("status-400", "status_4xx", body('{"error": {"message": "max_tokens is too large"}}', 400)),
    asked("status-401", "unauthorized", body('{"error": {"message": "Invalid API key"}}', 401)),
    asked("status-403", "status_4xx", body("", 403)),
    asked("status-404", "not_found", body('{"detail": "Not Found"}', 404)),
    asked("status-424", "status_5xx", body('{"error": "Request failed during generation"}', 424)),
    asked("status-429", "rate_limited", body('{"error": "Model is overloaded"}', 429)),
    asked("status-500", "status_5xx", body("Internal Server Error", 500)),
    asked("status-503-plain", "status_5xx", body("Service Unavailable", 503)),
    asked("status-503-busy", "busy", body("The engine is currently busy", 503)),
    asked("status-503-loading", "loading", body('{"error": {"message": "Loading model", "code": 503}}', 503)),
    asked("status-500-for-ever", "status_5xx", chat(endless(head(500), b"x" * 65536))),
    asked("redirect-elsewhere", "redirected", chat(redirecting(ELSEWHERE))),
    asked("redirect-to-https", "redirected", chat(redirecting("https://{here}/stolen"))),
    asked("redirect-as-a-get", "redirected", chat(redirecting("/stolen", 303))),
    asked("redirect-round-and-round", "redirected", chat(redirecting(CHAT))),
    asked("redirect-to-nowhere", "redirected", body("", 307)),
    asked("redirect-to-nonsense", "redirected", chat(redirecting("http://[/"))),
    asked("redirect-too-far", "invalid", chat(redirecting("/" + "x" * 70_000))),
]

WITHIN = [
    asked("error-frame", "stream_error", says(WORDS[0], frame({"error": ENGINE_ERROR}), DONE)),
    asked("error-frame-of-text", "stream_error", says(frame({"error": "CUDA out of memory"}))),
    asked("error-frame-flat", "stream_error", says(frame({"object": "error", **ENGINE_ERROR}))),
    asked("error-event", "stream_error", says(b'event: error\ndata: {"message": "out of memory"}\n\n')),
    asked("error-body", "stream_error", body(json.dumps({"error": ENGINE_ERROR}))),
    asked("nothing-said", "empty", says(STOP, last(0), DONE)),
    asked("only-blanks-said", "empty", says(piece(content="  \n"), STOP, DONE)),
    asked("nothing-said-in-a-body", "empty", body(json.dumps({"choices": [{"message": {"content": ""}}]}))),
]

WHOLE = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}], "usage": spent(5)}
)
FOREIGN = piece(content="四 vier čtyři")
SHORT = frame({"choices": [{"delta": {"content": "四"}}]})
CUT_AT = FOREIGN.index("四".encode()) + 1
INDENTED = json.dumps({"choices": [{"delta": {"content": "four"}}]}, indent=1)
CALL = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "add", "arguments": ""}}
MANY_LINES = "".join(f"data: {line}\n" for line in INDENTED.splitlines()).encode() + b"\n"
NUMBERS_NO_COUNTER_HOLDS = {"prompt_tokens": -4, "completion_tokens": "seven", "total_tokens": None}
LARGE = b'{"label": "ok", "padding": [' + b"0," * (4 * MIB - 1000) + b"0]}"

GOOD_ALL_THE_SAME = [
    asked("ordinary", None, chat(GOOD)),
    asked("behind-a-prefix", None, lambda stage: stage.serve({f"POST /deep/er{CHAT}": GOOD}).url + "/deep/er/"),
    asked("certificate-known", None, SECURED).having(tls={"ca_file": str(CERTIFICATE)}),
    asked("certificate-not-asked", None, SECURED).having(tls={"insecure_skip_verify": True}),
    asked("informed-first", None, chat(script(head(100), head(103, "Link: </x>"), head(200, SSE), *ANSWER))),
    asked("http-1.0", None, chat(script(head(200, SSE, version="1.0"), *ANSWER))),
    asked("redirect-at-home", None, at({POST_CHAT: redirecting("/there"), "POST /there": GOOD})),
    asked("gzip", None, chat(reply(gzip.compress(TEXT), 200, SSE, GZIP))),
    asked("crlf", None, chat(stream(TEXT.replace(b"\n", b"\r\n")))),
    asked("lone-cr", None, chat(stream(TEXT.replace(b"\n", b"\r")))),
    asked("comments", None, says(b": hello\n\nretry: 10\nid: 7\nevent: message\n" + WORDS[0], PINGED, STOP, DONE)),
    asked("no-space-after-the-colon", None, chat(stream(TEXT.replace(b"data: ", b"data:")))),
    asked("byte-order-mark", None, chat(stream(b"\xef\xbb\xbf" + TEXT))),
    asked("one-read", None, chat(stream(TEXT))),
    asked("byte-by-byte", None, chat(stream(*(bytes([byte]) for byte in SHORT + DONE)))),
    asked("cut-within-a-character", None, says(FOREIGN[:CUT_AT], 0.05, FOREIGN[CUT_AT:], STOP, DONE)),
    asked("data-on-many-lines", None, says(MANY_LINES, STOP, DONE)),
    asked("done-without-a-finish", None, says(*WORDS, DONE)),
    asked("finish-without-a-done", None, says(*WORDS, STOP)),
    asked("done-then-silence", None, says(*WORDS, STOP, DONE, FOREVER)),
    asked("choices-null", None, says(*WORDS, frame({"choices": None}), STOP, DONE)),
    asked("delta-null", None, says(*WORDS, frame({"choices": [{"delta": None, "finish_reason": "stop"}]}))),
    asked("not-streamed", None, body(WHOLE)),
    asked("not-streamed-in-capitals", None, chat(reply(WHOLE, 200, "Content-Type: Application/JSON; Charset=UTF-8"))),
    asked("usage-last", None, says(*WORDS, STOP, last(7), DONE)),
    asked("usage-with-the-finish", None, says(*WORDS, piece("stop", spent(7)), DONE)),
    asked("usage-all-along", None, says(*(piece(usage=spent(n), content="x y") for n in (1, 4, 7)), STOP, DONE)),
    asked("usage-null", None, says(piece(usage=None, content="four"), STOP, DONE)),
    asked("usage-absent", None, says(*WORDS, STOP, DONE)),
    asked("usage-nonsense", None, says(*WORDS, piece("stop", NUMBERS_NO_COUNTER_HOLDS), DONE)),
    asked("usage-beyond-any-number", None, says(*WORDS, piece("stop", spent(10**400)), DONE)),
    asked("role-long-before", None, says(0.31, *WORDS, 0.31, STOP, last(3), DONE)),
    asked("thought-then-spoken", None, says(piece(reasoning="hm"), 0.6, WORDS[0], STOP, DONE)),
    asked("thought-by-another-name", None, says(piece(reasoning_content="hm"), 0.6, WORDS[0], STOP, DONE)),
    asked("tool-called", None, says(0.31, piece(tool_calls=[CALL]), piece("tool_calls"), DONE)),
    asked("cookies", None, chat(reply(TEXT, 200, SSE, "Set-Cookie: route=a; Path=/"))),
    asked("slower-than-its-clock", None, says(0.5, *WORDS, STOP, DONE), every="100ms"),
    asked("steady", None, chat(GOOD), every="100ms"),
]

LONG_WORK = heavy(asked("body-of-8-mib", None, chat(reply(LARGE, 200, JSON)), **PLAIN))
COMPLETED = frame({"choices": [{"text": "four", "finish_reason": "stop"}]})
OTHERWISE = [
    asked("completed", None, at({"POST /v1/completions": stream(COMPLETED, DONE)}), protocol="openai-completions"),
    asked("completed-with-nothing", "empty", at({"POST /v1/completions": stream(DONE)}), protocol="openai-completions"),
    asked("plain-without-its-answer", "unexpected", body('{"score": 1}'), **PLAIN),
    asked("plain-no-json", "invalid", body("label: ok"), **PLAIN),
    asked("plain-empty", "empty", body('{"label": ""}'), **PLAIN),
]


def seen(name: str, listed: Answer) -> Row:
    """A service of which nothing is known but its address; it would answer a chat."""
    answers = {"GET /health": reply("ok"), "GET /v1/models": listed, POST_CHAT: GOOD}
    return Row(name=name, reason=None, place=at(answers), watched_by="health")


RECOGNISED = replace(seen("models-listed", models("tiny", "large")), watched_by="prompt")
UNRECOGNISED = [
    seen("models-not-found", reply("", 404)),
    seen("models-not-for-us", reply("", 401)),
    seen("models-none", models()),
    seen("models-no-json", reply("<html>It works!</html>")),
    seen("models-no-list", reply('{"data": 7}')),
    seen("models-too-deep", reply(DEEP)),
    seen("models-endless", ENDLESS_BODY),
    seen("models-torn", TORN_HEAD),
    seen("models-elsewhere", redirecting(ELSEWHERE)),
    seen("model-with-half-a-character", reply(r'{"data": [{"id": "\ud800"}]}')),
    seen("model-of-a-mebibyte", models("x" * MIB)),
]

FAILING = [row for row in (*NETWORK, *DEADLINES, *SIZES, *NONSENSE, *STATUSES, *WITHIN, *OTHERWISE) if row.reason]
GOOD_ONES = [*LONG_WORK, *GOOD_ALL_THE_SAME, *(row for row in OTHERWISE if not row.reason), RECOGNISED]

HIGHLY_NAMED = [
    seen("model-with-quotes", models('a"b\\c\nd{e="f"} 1')),
    seen("model-with-a-long-name", models("x" * 500)),
]

WITH_A_KEY = ["ordinary", "redirect-at-home", "redirect-elsewhere", "redirect-to-https", "models-elsewhere"]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    """The one program that lives through all of it."""
    rows = [*FAILING, *GOOD_ONES, *UNRECOGNISED, *HIGHLY_NAMED]
    keys = {f"MODEL_SIDECAR_API_KEY__{name.upper().replace('-', '_')}": KEY for name in WITH_A_KEY}
    with endured(rows, tmp_path_factory.mktemp("hostile"), keys) as aftermath:
        yield aftermath


@pytest.mark.parametrize("row", FAILING, ids=str)
def test_a_wrong_answer_is_counted_by_its_reason(row: Row, aftermath: Aftermath) -> None:
    assert set(aftermath.failures(row)) == {row.reason}, aftermath.told(row)
    assert aftermath.up(row) == 0


@pytest.mark.parametrize("row", GOOD_ONES, ids=str)
def test_an_unusual_answer_that_is_right_is_good(row: Row, aftermath: Aftermath) -> None:
    assert aftermath.failures(row) == {}, aftermath.told(row)
    assert aftermath.up(row) == 1


@pytest.mark.parametrize("row", UNRECOGNISED, ids=str)
def test_a_service_that_was_not_recognised_is_never_sent_a_prompt(row: Row, aftermath: Aftermath) -> None:
    service = aftermath.services[row.name]

    assert service.asked("GET", "/v1/models")
    assert service.asked("POST") == []
    assert "model_probe_" not in "".join(aftermath.page.about(row.name))
    assert aftermath.up(row) == 1, aftermath.told(row)


@pytest.mark.parametrize("row", UNRECOGNISED, ids=str)
def test_the_log_says_how_to_have_an_unknown_service_asked(row: Row, aftermath: Aftermath) -> None:
    told = [line for line in aftermath.daemon.log.splitlines() if f"target={row.name}" in line]

    assert any("prompt.protocol" in line for line in told), told


@pytest.mark.parametrize("row", HIGHLY_NAMED, ids=str)
def test_the_name_of_a_model_cannot_spoil_the_page(row: Row, aftermath: Aftermath) -> None:
    (described,) = aftermath.page.samples("model_info", target=row.name)

    assert 0 < len(described.labels["model"]) <= 128


def test_nothing_that_a_service_does_is_a_failure_to_look(aftermath: Aftermath) -> None:
    page = aftermath.daemon.scrape()

    failed = [it for it in page.samples("model_sidecar_collection_failures_total") if it.value]

    assert failed == []
    assert "Traceback" not in aftermath.daemon.log


def test_no_answer_fills_the_log(aftermath: Aftermath) -> None:
    lines = aftermath.daemon.log.splitlines()

    assert [line[:200] for line in lines if len(line) > 1000] == []


def test_no_service_is_sent_a_prompt_while_another_is_under_way(aftermath: Aftermath) -> None:
    at_once = {name: service.most_at_once["POST"] for name, service in aftermath.services.items()}

    assert {name: most for name, most in at_once.items() if most > 1} == {}
    assert len(aftermath.services["slower-than-its-clock"].asked("POST")) > 1


def test_a_request_says_who_asks_and_wants_no_compression(aftermath: Aftermath) -> None:
    (request, *_) = aftermath.services["ordinary"].asked("POST", CHAT)

    assert request.headers["user-agent"].startswith("model-sidecar/")
    assert request.headers["accept-encoding"] == "identity"
    assert json.loads(request.body)["model"] == "tiny"


def test_two_prompts_are_never_the_same(aftermath: Aftermath) -> None:
    bodies = [request.body for request in aftermath.services["steady"].asked("POST")]

    assert len(set(bodies)) == len(bodies) > 1
    assert len({len(body) for body in bodies}) == 1


def test_the_key_is_sent_to_its_service_and_nowhere_else(aftermath: Aftermath) -> None:
    told = {
        f"{name}{request.path}"
        for name, service in aftermath.services.items()
        for request in service.requests
        if KEY in str(request.headers) and (request.method == "POST" or request.path == "/stolen")
    }

    assert told == {
        f"ordinary{CHAT}",
        f"redirect-at-home{CHAT}",
        "redirect-at-home/there",
        f"redirect-elsewhere{CHAT}",
        f"redirect-to-https{CHAT}",
    }
    assert KEY not in aftermath.page.text
    assert KEY not in aftermath.daemon.log


def test_nothing_is_asked_at_another_origin(aftermath: Aftermath) -> None:
    stolen = [
        name for name, service in aftermath.services.items() if any(it.path == "/stolen" for it in service.requests)
    ]

    assert stolen == []


def test_a_redirect_at_home_repeats_the_prompt(aftermath: Aftermath) -> None:
    service = aftermath.services["redirect-at-home"]

    (first, *_), (second, *_) = service.asked("POST", CHAT), service.asked("POST", "/there")

    assert first.body == second.body


def test_a_cookie_is_not_kept(aftermath: Aftermath) -> None:
    requests = aftermath.services["cookies"].asked("POST")

    assert len(requests) > 1
    assert [it for it in requests if "cookie" in it.headers] == []


@pytest.mark.parametrize("row", LONG_WORK, ids=str)
def test_other_services_are_asked_while_one_gives_much_work(row: Row, aftermath: Aftermath) -> None:
    answered = aftermath.page.value("model_probe_last_success_timestamp_seconds", target=row.name) or 0
    sent = max(it.at for it in aftermath.services[row.name].asked("POST") if it.at < answered)

    meanwhile = [it for it in aftermath.services["steady"].asked("POST") if sent < it.at < answered]

    assert meanwhile


def test_the_role_is_not_the_first_token(aftermath: Aftermath) -> None:
    first = aftermath.page.value("model_probe_last_first_token_seconds", target="role-long-before")
    duration = aftermath.page.value("model_probe_last_duration_seconds", target="role-long-before")

    assert first is not None
    assert duration is not None
    assert 0.3 <= first <= duration - 0.3


@pytest.mark.parametrize("name", ["thought-then-spoken", "thought-by-another-name"])
def test_reasoning_is_the_first_token_and_not_the_first_of_the_answer(name: str, aftermath: Aftermath) -> None:
    first = aftermath.page.value("model_probe_last_first_token_seconds", target=name)
    answer = aftermath.page.value("model_probe_last_first_answer_token_seconds", target=name)

    assert first is not None
    assert answer is not None
    assert first <= answer - 0.3


def test_a_tool_call_is_a_token(aftermath: Aftermath) -> None:
    first = aftermath.page.value("model_probe_last_first_token_seconds", target="tool-called")

    assert first is not None
    assert first >= 0.3


def test_an_answer_in_one_body_has_no_first_token(aftermath: Aftermath) -> None:
    first = aftermath.page.value("model_probe_last_first_token_seconds", target="not-streamed")

    assert first is None


@pytest.mark.parametrize(
    ("name", "tokens", "estimated"),
    [
        ("usage-last", 7, 0),
        ("usage-with-the-finish", 7, 0),
        ("usage-all-along", 7, 0),
        ("not-streamed", 5, 0),
        ("usage-null", 1, 1),
        ("usage-absent", 3, 1),
        ("usage-nonsense", 3, 1),
        ("usage-beyond-any-number", 3, 1),
    ],
)
def test_tokens_are_counted_from_usage_or_else_from_pieces(
    name: str, tokens: int, estimated: int, aftermath: Aftermath
) -> None:
    answers = aftermath.page.value("model_probe_duration_seconds_count", target=name)
    counted = aftermath.page.value("model_probe_output_tokens_total", target=name)

    assert counted == tokens * (answers or 0) > 0
    assert aftermath.page.value("model_probe_tokens_estimated", target=name) == estimated
