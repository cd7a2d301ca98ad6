"""How a service's own metrics are looked for and read, and what becomes of those that cannot be."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import forms
from exporter.figures import Form, Publish
from exporter.forms import LINE_LIMIT, SAMPLES_LIMIT
from exporter.normal import SERIES_LIMIT, Figures
from exporter.reading import Reading
from exporter.sources import server
from exporter.sources.server import RESTING, Progress, ServerMetrics, Whereabouts
from exporter.vocabularies import VOCABULARIES
from exporter.wire import Failed
from tests.services import pages
from tests.services.client import client
from tests.services.recorded import recorded
from tests.services.scripted import FOREVER, Answer, Request, Stage, in_turn, reply, script
from tests.sources.looks import (
    ASKED,
    DOWN,
    TEXT,
    UP,
    Told,
    at_once,
    in_json,
    looked,
    looks,
    once,
    page,
    progress,
    told,
)


@pytest.mark.parametrize("engine", ["ollama", "transformers", "llama-cpp-python", "a1111", "comfyui", "unknown", ""])
def test_an_engine_that_tells_nothing_is_not_asked(stage: Stage, engine: str) -> None:
    service = stage.serve({"GET /metrics": page(pages.STARLETTE)})

    assert looked(service, engine) == [{}]
    assert not service.requests


def test_an_unknown_service_is_read_where_the_operator_says(stage: Stage) -> None:
    service = stage.serve({"GET /stats": page(pages.STARLETTE)})

    [seen] = looked(service, "unknown", {"path": "/stats"})

    assert seen["requests_running"] == 1


@pytest.mark.parametrize("name", ["flask-json/get_metrics", "mlserver-1.7.1/get_metrics"])
def test_a_service_without_metrics_is_silent_and_left_in_peace(stage: Stage, name: str) -> None:
    service = stage.serve(recorded(name))

    assert looked(service, "fastapi", times=RESTING + 2) == [{}] * (RESTING + 2)
    assert len(service.requests) == 2


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_metrics_that_were_asked_for_and_are_not_there_are_down(stage: Stage, status: int) -> None:
    service = stage.serve({"GET /metrics": reply("no", status)})

    assert looked(service, "vllm") == [{}]
    assert looked(service, "vllm", ASKED) == [DOWN]


def test_a_service_that_answers_every_path_with_its_page_for_people_has_no_metrics(stage: Stage) -> None:
    service = stage.serve(
        {"GET /metrics": reply("<!doctype html>\nx 1", 200, "Content-Type: text/html; charset=utf-8")}
    )

    assert looked(service, "fastapi") == [{}]


def test_a_service_is_looked_at_anew_once_it_is_known_to_be_another(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": page(pages.VLLM_OMNI)})
    engines = iter(["unknown", "unknown", "vllm"])

    async def looking() -> Sequence[Told]:
        async with client(service.url) as asking:
            where = Whereabouts(service=service.url)
            source = ServerMetrics(asking, where, target="chat", engine=lambda: next(engines), publish="gauges")
            return [told([each async for said in source.read() for each in said]) for _ in range(3)]

    assert asyncio.run(looking()) == [{}, {}, {**UP, "requests_running": 2, "requests_waiting": 4}]


@pytest.mark.parametrize(
    "answer",
    [
        reply("overloaded", 503),
        reply("key please", 401),
        reply("", 302, "Location: http://localhost:1/"),
        reply("SSH-2.0-OpenSSH_9.9\n", 200, TEXT),
        reply(b"\x00\xff\xfe garbage \x80", 200, TEXT),
        reply("not compressed", 200, TEXT, "Content-Encoding: gzip"),
        script(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nvllm:num_requests_running 1\n"),
        reply("vllm:num_requests_running 1\n" * (9 * 2**20 // 28), 200, TEXT),
    ],
    ids=["503", "401", "elsewhere", "prose", "bytes", "gzip", "cut", "huge"],
)
def test_metrics_that_cannot_be_read_are_down_and_nothing_else_is_told(stage: Stage, answer: Answer) -> None:
    service = stage.serve({"GET /metrics": in_turn(page(pages.VLLM), answer)})

    assert looked(service, "vllm", times=2)[1] == DOWN


def test_a_page_that_does_not_end_is_waited_for_only_so_long(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    service = stage.serve({"GET /metrics": script(b"HTTP/1.1 200 OK\r\n\r\n", FOREVER)})

    assert looked(service, "vllm") == [DOWN]


def test_a_page_of_more_series_than_any_engine_has_is_down() -> None:
    body = "".join(f'vllm:num_requests_running{{engine="{n}"}} 1\n' for n in range(SAMPLES_LIMIT + 1)).encode()

    assert told(at_once(body)) == DOWN


def test_a_large_page_is_read_apart_and_counts_the_same(stage: Stage) -> None:
    filling = "".join(f'python_gc_objects_collected_total{{generation="{n}"}} 1.0\n' for n in range(6_000))
    assert len(filling) > 256 * 2**10

    assert once(stage, "vllm", filling + pages.VLLM) == once(stage, "vllm", pages.VLLM)


def test_the_page_is_asked_for_as_text_and_with_the_key_only_where_the_service_is(stage: Stage) -> None:
    service, other = (stage.serve({"GET /metrics": page(pages.VLLM)}) for _ in range(2))
    key = {"headers": {"Authorization": "Bearer secret"}}

    looked(service, "vllm", key)
    looked(service, "vllm", {**key, "url": other.url})

    [here], [elsewhere] = service.requests, other.requests
    assert here.headers["accept"].startswith("text/plain;version=0.0.4")
    assert here.headers["authorization"] == "Bearer secret"
    assert "authorization" not in elsewhere.headers


@pytest.mark.parametrize(
    "line",
    [
        "vllm:num_requests_running NaN",
        "vllm:num_requests_running +Inf",
        "vllm:num_requests_running -1",
        "vllm:num_requests_running 1e300",
        f"vllm:num_requests_running {'9' * 4000}",
        "vllm:num_requests_running 1_000",
        'vllm:num_requests_running{engine="0" 1',
        'vllm:num_requests_running{a="1", ="x"} 1',
        'vllm:num_requests_running{engine="0",engine="1"} 1',
        f'vllm:num_requests_running{{engine="{"x" * LINE_LIMIT}"}} 1',
        'vllm:num_requests_running{engine="0"}',
    ],
)
def test_a_spoiled_line_is_left_out_and_the_rest_is_read(line: str) -> None:
    assert told(at_once(f"{line}\nvllm:num_requests_waiting 2\n".encode())) == {**UP, "requests_waiting": 2}


def test_how_many_series_were_cut_off_is_known(stage: Stage) -> None:
    routes = "".join(f'starlette_requests_total{{path="/{n}",method="GET"}} 1\n' for n in range(SERIES_LIMIT + 7))
    service = stage.serve({"GET /metrics": page(routes)})

    async def looking() -> int:
        async with client(service.url) as asking:
            where = Whereabouts(service=service.url)
            source = ServerMetrics(asking, where, target="chat", engine=lambda: "fastapi", publish="gauges")
            for _ in range(2):
                assert len(told([each async for said in source.read() for each in said])) == SERIES_LIMIT + len(UP)
            return source.figures.dropped

    assert asyncio.run(looking()) == 14


@pytest.mark.parametrize("publish", ["none", "gauges", "all"])
def test_what_is_not_published_is_known_all_the_same(stage: Stage, publish: Publish) -> None:
    replicas = [
        {"num_running_reqs": 2, "num_waiting_reqs": 4, "num_used_tokens": 9},
        {"num_running_reqs": 1, "num_waiting_reqs": 0, "num_used_tokens": 1},
    ]
    service = stage.serve({"GET /v1/loads": in_json({"loads": replicas})})

    async def looking() -> tuple[Sequence[Sequence[Reading]], float | None]:
        async with client(service.url) as asking:
            where = Whereabouts(service=service.url)
            source = ServerMetrics(asking, where, target="chat", engine=lambda: "sglang", publish=publish)
            return [said async for said in source.read()], source.waiting

    [said], waiting = asyncio.run(looking())

    assert waiting == 4
    assert progress(said) == Progress(target="chat", generating=10)
    assert len(said) == (1 if publish == "none" else 3)


def test_what_proves_progress_is_news_at_every_look(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": page("vllm:generation_tokens_total 7\n")})

    first, second = (progress(said) for [said] in looks(service, "vllm", times=2))

    assert first == second == Progress(target="chat", generating=7)
    assert first is not second


@pytest.mark.parametrize("answer", [reply("overloaded", 503), page("vllm:cache_config_info 1\n")])
def test_of_progress_nothing_is_said_where_nothing_is_told(stage: Stage, answer: Answer) -> None:
    service = stage.serve({"GET /metrics": in_turn(page("vllm:generation_tokens_total 7\n"), answer)})

    _, [said] = looks(service, "vllm", times=2)

    assert progress(said) is None


def test_a_service_that_lets_a_look_wait_is_silent_and_down_only_when_the_look_ends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE", 0.2)
    monkeypatch.setattr(server, "PATIENCE", 0.6)
    service = stage.serve({"GET /metrics": in_turn(page(pages.VLLM), script(FOREVER))})

    [before], [waiting, after] = looks(service, "vllm", times=2)

    assert progress(waiting) == Progress(target="chat", silent=True)
    assert told(waiting) == told(before)
    assert told(after) == DOWN
    assert progress(after) is progress(waiting)


def test_a_service_that_was_silent_and_answers_after_all_was_never_down(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE", 0.2)
    late = script(0.6, *page("vllm:generation_tokens_total 7\nvllm:num_requests_running 1\n")(ANY))
    service = stage.serve({"GET /metrics": in_turn(page("vllm:num_requests_running 2\n"), late)})

    [_], [waiting, after] = looks(service, "vllm", times=2)

    assert progress(waiting) == Progress(target="chat", silent=True)
    assert told(waiting) == {**UP, "requests_running": 2}
    assert progress(after) == Progress(target="chat", generating=7)
    assert told(after) == {**UP, "requests_running": 1, "generation_tokens_total": 7}
    assert service.most_at_once["GET"] == 1


@pytest.mark.parametrize("kind", ["closed", "crowded", "silent"])
def test_only_a_port_that_takes_a_connection_can_be_silent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(server, "SILENCE", 0.2)
    monkeypatch.setattr(server, "PATIENCE", 0.4)
    ports = {"closed": stage.closed_port, "crowded": stage.crowded_port, "silent": stage.silent_port}

    async def looking() -> Sequence[Sequence[Reading]]:
        url = f"http://127.0.0.1:{ports[kind]()}"
        async with client(url) as asking:
            where = Whereabouts(service=url)
            source = ServerMetrics(asking, where, target="chat", engine=lambda: "vllm", publish="gauges")
            return [said async for said in source.read()]

    said = asyncio.run(looking())

    assert told(said[-1]) == DOWN
    assert [bool(progress(each)) for each in said] == ([True, True] if kind == "silent" else [False])


def test_a_look_that_is_given_up_is_over(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENCE", 0.2)
    service = stage.serve({"GET /metrics": script(FOREVER)})

    async def looking() -> int:
        async with client(service.url) as asking:
            where = Whereabouts(service=service.url)
            source = ServerMetrics(asking, where, target="chat", engine=lambda: "vllm", publish="gauges")
            async with aclosing(source.read()) as saying:
                await anext(saying)
            return len(asyncio.all_tasks() - {asyncio.current_task()})

    assert asyncio.run(looking()) == 0


ANY = Request(method="GET", path="/", headers={}, body=b"")
NAMES = sorted(name for vocabulary in VOCABULARIES.values() for name in vocabulary.wanted(spreads=True))
LABELS = st.dictionaries(
    st.sampled_from(["engine", "le", "model_name", "handler", "status", "tp_rank", "priority", "finished_reason"]),
    st.sampled_from(["", "0", "1", "0.5", "+Inf", "NaN", "5xx", "500", "error", "a b", '\\"', "é", "\\n"])
    | st.text(max_size=5),
    max_size=4,
)
VALUES = st.sampled_from(["0", "1", "2.5", "1e3", "NaN", "+Inf", "-1", "9" * 400, "", "x"])


def line(name: str, labels: Mapping[str, str], value: str) -> bytes:
    """A line of a page, unless the labels hold what needs escaping."""
    pairs = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {value}".encode()


LINES = st.one_of(
    st.builds(line, st.sampled_from(NAMES), LABELS, VALUES),
    st.binary(max_size=60),
    st.builds(lambda name, rest: name.encode() + rest, st.sampled_from(NAMES), st.binary(max_size=40)),
    st.text(alphabet='{}=",\\ a1#\t', max_size=40).map(lambda text: f"vllm:num_requests_running{text} 1".encode()),
)


@given(engine=st.sampled_from(sorted(VOCABULARIES)), lines=st.lists(LINES, max_size=12))
@settings(max_examples=300, deadline=None)
def test_whatever_a_page_holds_there_are_readings_that_can_be_shown(engine: str, lines: Sequence[bytes]) -> None:
    vocabulary = VOCABULARIES[engine]
    figures = Figures()

    for part in (lines, lines[::2], lines):
        with suppress(Failed):
            seen = forms.samples(b"\n".join(part), Form.PAGE, vocabulary.wanted(spreads=True))
            figures = figures.plus(vocabulary, seen, spreads=True)

    told([server.server("chat", owner, {figure: value}) for (figure, owner), value in figures.now.items()])


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["loads", "num_running_reqs", "is_processing", "n_ctx", "n_prompt_tokens", "next_token", "n_decoded"]
            )
            | st.sampled_from(["id_task", "n_prompt_tokens_processed", "num_used_tokens"])
            | st.sampled_from(["functions", "total_requests", "queue_size", "is_sleeping", "token_usage"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(engine=st.sampled_from(["sglang", "llama-server", "gradio"]), document=JSONS | st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_json_there_are_readings_that_can_be_shown(engine: str, document: object) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    told(at_once(body, engine=engine, kind="application/json"))
