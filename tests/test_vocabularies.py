"""What is made of the pages of real engines, and of engines as the reference has them."""

from collections.abc import Sequence
from typing import get_args

import httpx
import pytest

from exporter.engines import ENGINES
from exporter.figures import Figure, Proof, Publish
from exporter.reading import declarations
from exporter.sources.server import Progress, Server, Whereabouts
from exporter.vocabularies import VOCABULARIES
from tests.services import pages
from tests.services.recorded import recorded
from tests.services.scripted import Stage, in_turn, reply
from tests.sources.looks import ASKED, JSON, UP, in_json, looked, once, page


def test_vllm_is_summed_over_its_replicas_and_its_http_counters_are_left_out(stage: Stage) -> None:
    assert once(stage, "vllm", pages.VLLM) == {
        **UP,
        "requests_running": 4,
        "requests_waiting": 5,
        "kv_cache_usage_ratio": 0.5,
        "prompt_tokens_total": 1500,
        "generation_tokens_total": 200,
        "cached_prompt_tokens_total": 300,
        "preemptions_total": 2,
        "requests_total": 50,
        "request_failures_total": 3,
    }


def test_histograms_keep_the_edges_of_the_engine_and_are_published_only_where_all_is(stage: Stage) -> None:
    assert {
        name: value for name, value in once(stage, "vllm", pages.VLLM, publish="all").items() if "first" in name
    } == {
        'first_token_seconds_bucket{le="0.02"}': 11,
        'first_token_seconds_bucket{le="0.5"}': 41,
        'first_token_seconds_bucket{le="+Inf"}': 52,
        "first_token_seconds_count": 52,
        "first_token_seconds_sum": 13.5,
    }


def test_an_older_vllm_is_understood_by_its_older_names(stage: Stage) -> None:
    assert once(stage, "vllm", pages.VLLM_OF_OLD, publish="all") == {
        **UP,
        "requests_running": 3,
        "kv_cache_usage_ratio": 0.5,
        "cached_prompt_tokens_total": 30,
        'time_per_output_token_seconds_bucket{le="0.1"}': 4,
        'time_per_output_token_seconds_bucket{le="+Inf"}': 4,
        "time_per_output_token_seconds_count": 4,
        "time_per_output_token_seconds_sum": 0.2,
    }


def test_vllm_omni_goes_by_its_own_names_and_else_by_those_of_vllm(stage: Stage) -> None:
    assert once(stage, "vllm-omni", pages.VLLM_OMNI) == {**UP, "requests_running": 1, "requests_waiting": 4}


def test_of_sglang_a_rank_is_heard_once_and_a_priority_not_at_all(stage: Stage) -> None:
    seen = once(stage, "sglang", pages.SGLANG)

    assert seen == {
        **UP,
        "kv_cache_usage_ratio": pytest.approx(0.3),
        "requests_running": 5,
        "requests_waiting": 6,
        "prompt_tokens_total": 150,
        "generation_tokens_total": 25,
        "cached_prompt_tokens_total": 10,
        "preemptions_total": 1,
        "requests_total": 10,
        "request_failures_total": 2,
    }


def test_sglang_without_metrics_tells_its_loads_and_is_not_asked_for_metrics_again(stage: Stage) -> None:
    loads = [
        {"dp_rank": 0, "num_running_reqs": 2, "num_waiting_reqs": 3, "token_usage": 0.5},
        {"dp_rank": 1, "num_running_reqs": 1, "num_waiting_reqs": 0, "token_usage": 0.1},
    ]
    service = stage.serve({"GET /v1/loads": in_json({"timestamp": "now", "version": "0.5.23", "loads": loads})})

    seen = looked(service, "sglang", times=3)

    assert seen == [{**UP, "requests_running": 3, "requests_waiting": 3, "kv_cache_usage_ratio": 0.3}] * 3
    assert len(service.asked("GET", "/metrics")) == 1


def test_sglang_diffusion_tells_its_requests(stage: Stage) -> None:
    assert once(stage, "sglang-diffusion", pages.SGLANG_DIFFUSION) == {
        **UP,
        "requests_running": 1,
        "requests_waiting": 2,
        "requests_total": 30,
    }


def test_what_tgi_counts_as_failed_is_no_failure_where_it_was_the_clients(stage: Stage) -> None:
    assert once(stage, "tgi", pages.TGI, publish="all") == {
        **UP,
        "requests_running": 2,
        "requests_waiting": 1,
        "prompt_tokens_total": 400,
        "generation_tokens_total": 120,
        "requests_total": 20,
        "request_failures_total": 2,
        'request_duration_seconds_bucket{le="0.1"}': 3,
        'request_duration_seconds_bucket{le="0.15000000000000002"}': 15,
        'request_duration_seconds_bucket{le="+Inf"}': 15,
        "request_duration_seconds_count": 15,
        "request_duration_seconds_sum": 1.75,
    }


def test_a_tgi_that_was_never_asked_tells_nothing_and_not_zero(stage: Stage) -> None:
    assert once(stage, "tgi", "") == UP


def test_the_kinds_of_request_of_tei_are_no_methods(stage: Stage) -> None:
    assert once(stage, "tei", pages.TEI) == {
        **UP,
        "requests_waiting": 3,
        "prompt_tokens_total": 64,
        "requests_total": 10,
        "request_failures_total": 2,
    }


def test_lmdeploy_has_failed_none_where_it_counts_only_requests_that_ended_well(stage: Stage) -> None:
    assert once(stage, "lmdeploy", pages.LMDEPLOY) == {
        **UP,
        "requests_running": 2,
        "requests_waiting": 1,
        "kv_cache_usage_ratio": 0.125,
        "prompt_tokens_total": 30,
        "generation_tokens_total": 20,
        "requests_total": 4,
        "request_failures_total": 0,
    }


def test_nim_is_read_where_it_tells_and_by_names_without_prefix(stage: Stage) -> None:
    assert once(stage, "nim", pages.NIM, path="/v1/metrics") == {
        **UP,
        "requests_running": 2,
        "requests_waiting": 0,
        "kv_cache_usage_ratio": 0.1,
        "prompt_tokens_total": 11,
        "generation_tokens_total": 22,
        "requests_total": 4,
        "request_failures_total": 1,
    }


def test_nim_that_is_vllm_beneath_is_read_as_vllm_is(stage: Stage) -> None:
    assert once(stage, "nim", pages.VLLM) == once(stage, "vllm", pages.VLLM)


def test_trtllm_is_left_alone_unless_asked_for(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": in_json([]), "GET /prometheus/metrics": page(pages.TRTLLM)})

    assert looked(service, "trtllm") == [{}]
    assert not service.requests


def test_trtllm_is_never_asked_for_what_asking_takes_away(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": in_json([]), "GET /prometheus/metrics": page(pages.TRTLLM)})

    seen = looked(service, "trtllm", ASKED)

    assert seen == [
        {
            **UP,
            "requests_running": 1,
            "requests_waiting": 0,
            "kv_cache_usage_ratio": 0.5,
            "prompt_tokens_total": 80,
            "generation_tokens_total": 40,
            "cached_prompt_tokens_total": 16,
            "requests_total": 15,
            "request_failures_total": 2,
        }
    ]
    assert not service.asked("GET", "/metrics")


def test_llama_server_is_known_by_its_slots_and_its_averages_are_not_disturbed(stage: Stage) -> None:
    recordings = ("get_props", "slots_after", "metrics_after")
    service = stage.serve(
        {path: it for name in recordings for path, it in recorded(f"llama-server-0.7.0/{name}").items()}
    )

    seen = looked(service, "llama-server")

    assert seen == [{**UP, "requests_running": 0, "kv_cache_usage_ratio": 0}]
    assert not service.asked("GET", "/metrics")


def test_a_slot_that_works_holds_its_prompt_and_what_it_has_said_since(stage: Stage) -> None:
    idle = {"n_ctx": 500, "is_processing": False, "n_prompt_tokens": 400}
    # Of these tokens 50 are the answer's, as a real server counted them.
    busy = {"n_ctx": 500, "is_processing": True, "n_prompt_tokens": 200, "next_token": [{"n_decoded": 50}]}
    service = stage.serve({"GET /slots": in_json([idle, busy])})

    assert looked(service, "llama-server") == [{**UP, "requests_running": 1, "kv_cache_usage_ratio": 0.2}]


def test_an_older_llama_server_that_does_not_count_a_slots_tokens_tells_no_usage(stage: Stage) -> None:
    service = stage.serve({"GET /slots": in_json([{"n_ctx": 500, "is_processing": True}])})

    assert looked(service, "llama-server") == [{**UP, "requests_running": 1}]


@pytest.mark.parametrize("props", [{"is_sleeping": True}, {"role": "router"}])
def test_a_llama_server_that_sleeps_is_not_woken(stage: Stage, props: object) -> None:
    service = stage.serve({"GET /props": in_json(props), "GET /slots": in_json([])})

    assert looked(service, "llama-server") == [UP]
    assert not service.asked("GET", "/slots")


def test_the_prompt_tokens_of_llama_server_take_in_those_from_its_cache(stage: Stage) -> None:
    recordings = ("get_props", "get_slots", "metrics_after")
    service = stage.serve(
        {path: it for name in recordings for path, it in recorded(f"llama-server-0.7.0/{name}").items()}
    )

    assert looked(service, "llama-server", ASKED) == [
        {
            **UP,
            "requests_running": 0,
            "requests_waiting": 0,
            "kv_cache_usage_ratio": 0,
            "prompt_tokens_total": 114,
            "generation_tokens_total": 68,
            "cached_prompt_tokens_total": 77,
        }
    ]


def test_an_older_llama_server_that_does_not_count_its_cache_tells_no_prompt_tokens(stage: Stage) -> None:
    service = stage.serve(
        {"GET /metrics": page("llamacpp:prompt_tokens_total 37\nllamacpp:tokens_predicted_total 8\n")}
    )

    assert looked(service, "llama-server", ASKED) == [{**UP, "generation_tokens_total": 8}]


def test_triton_names_its_models_where_there_are_several_and_its_milliseconds_become_seconds(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": page(pages.TRITON_TRTLLM)})

    assert looked(service, "triton", {"url": service.url}, publish="all") == [
        {
            **UP,
            'requests_running{model="tensorrt_llm"}': 5,
            'requests_waiting{model="tensorrt_llm"}': 2,
            'kv_cache_usage_ratio{model="tensorrt_llm"}': 0.5,
            'requests_total{model="ensemble"}': 10,
            'requests_total{model="tensorrt_llm"}': 8,
            'request_failures_total{model="ensemble"}': 1,
            'first_token_seconds_bucket{le="0.1",model="ensemble"}': 4,
            'first_token_seconds_bucket{le="0.5",model="ensemble"}': 8,
            'first_token_seconds_bucket{le="+Inf",model="ensemble"}': 9,
            'first_token_seconds_count{model="ensemble"}': 9,
            'first_token_seconds_sum{model="ensemble"}': 2.25,
        }
    ]


def test_a_recorded_triton_tells_its_one_model_without_its_name(stage: Stage) -> None:
    service = stage.serve(recorded("triton-2.51/metrics"))

    assert looked(service, "triton", {"url": service.url}) == [
        {**UP, "requests_waiting": 0, "requests_total": 1, "request_failures_total": 0}
    ]


def test_triton_at_its_usual_port_is_read_at_the_usual_port_of_its_metrics() -> None:
    where = Whereabouts(service="http://gpu1:8000/base")

    assert where.address(VOCABULARIES["triton"], "/metrics") == httpx.URL("http://gpu1:8002/metrics")


def test_triton_at_another_port_is_not_looked_for_at_a_port_that_may_be_anothers(stage: Stage) -> None:
    service = stage.serve(recorded("triton-2.51/metrics"))

    assert looked(service, "triton") == [{}]
    assert not service.requests


def test_mlserver_counts_inference_and_an_unknown_model_is_not_its_failure(stage: Stage) -> None:
    service = stage.serve(recorded("mlserver-1.7.1/metrics_after"))
    infer = 'handler="/v2/models/{model_name}/infer",method="POST"'

    assert looked(service, "mlserver", {"url": service.url}) == [
        {
            **UP,
            "requests_running": 0,
            f'requests_total{{{infer},status="2xx"}}': 1,
            f'requests_total{{{infer},status="4xx"}}': 2,
            f'request_failures_total{{{infer},status="5xx"}}': 0,
        }
    ]


def test_mlserver_that_was_asked_nothing_but_its_health_counts_no_requests(stage: Stage) -> None:
    service = stage.serve(recorded("mlserver-1.7.1/get_metrics_port"))

    [seen] = looked(service, "mlserver", {"url": service.url})

    assert sum(value for name, value in seen.items() if name.startswith("requests_total")) == 0


def test_a_recorded_bentoml_tells_its_routes(stage: Stage) -> None:
    [seen] = looked(stage.serve(recorded("bentoml-1.4/metrics_after")), "bentoml")

    assert seen["requests_running"] == 0
    assert seen['requests_total{handler="/classify",status="2xx"}'] == 1
    assert seen['requests_total{handler="/classify",status="4xx"}'] == 2
    assert seen['request_failures_total{handler="/classify",status="5xx"}'] == 0


def test_a_recorded_instrumented_service_tells_its_routes(stage: Stage) -> None:
    [seen] = looked(stage.serve(recorded("fastapi-image/metrics_after")), "fastapi", publish="all")

    assert {name: value for name, value in seen.items() if '"/generate"' in name} == {
        'requests_total{handler="/generate",method="POST",status="2xx"}': 1,
        'requests_total{handler="/generate",method="POST",status="4xx"}': 2,
        'request_failures_total{handler="/generate",method="POST",status="5xx"}': 0,
        'request_duration_seconds_bucket{handler="/generate",le="0.1",method="POST"}': 3,
        'request_duration_seconds_bucket{handler="/generate",le="0.5",method="POST"}': 3,
        'request_duration_seconds_bucket{handler="/generate",le="1.0",method="POST"}': 3,
        'request_duration_seconds_bucket{handler="/generate",le="+Inf",method="POST"}': 3,
        'request_duration_seconds_count{handler="/generate",method="POST"}': 3,
        'request_duration_seconds_sum{handler="/generate",method="POST"}': 0.09078682699964702,
    }


def test_starlette_exporter_is_understood_and_exact_statuses_become_classes(stage: Stage) -> None:
    predict = 'handler="/predict",method="POST"'

    assert once(stage, "fastapi", pages.STARLETTE) == {
        **UP,
        "requests_running": 1,
        f'requests_total{{{predict},status="2xx"}}': 13,
        f'requests_total{{{predict},status="4xx"}}': 2,
        f'requests_total{{{predict},status="5xx"}}': 3,
        f'request_failures_total{{{predict},status="5xx"}}': 3,
    }


def test_prometheus_flask_exporter_is_understood(stage: Stage) -> None:
    parse = 'handler="/parse",method="POST"'

    seen = once(stage, "flask", pages.FLASK, publish="all")

    assert {name: value for name, value in seen.items() if "duration" not in name} == {
        **UP,
        f'requests_total{{{parse},status="2xx"}}': 6,
        f'requests_total{{{parse},status="5xx"}}': 1,
        f'request_failures_total{{{parse},status="5xx"}}': 1,
    }
    assert seen['request_duration_seconds_count{handler="/parse",method="POST",status="2xx"}'] == 6


def test_ray_serve_tells_its_routes_and_its_milliseconds_become_seconds(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": page(pages.RAY_SERVE)})
    chat = 'handler="/chat",method="POST"'

    [seen] = looked(service, "ray-serve", {"url": service.url}, publish="all")

    assert {name: value for name, value in seen.items() if "duration" not in name} == {
        **UP,
        "requests_running": 2,
        "requests_waiting": 1,
        f'requests_total{{{chat},status="2xx"}}': 30,
        f'requests_total{{{chat},status="4xx"}}': 4,
        f'requests_total{{{chat},status="5xx"}}': 2,
        f'request_failures_total{{{chat},status="5xx"}}': 2,
    }
    assert seen['request_duration_seconds_bucket{handler="/chat",le="0.05",method="POST",status="2xx"}'] == 10
    assert seen[f'request_duration_seconds_sum{{{chat},status="2xx"}}'] == 3


def test_the_engine_under_ray_serve_counts_its_own_requests(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": page(pages.RAY_SERVE_LLM)})

    assert looked(service, "ray-serve", {"url": service.url}) == [
        {
            **UP,
            "requests_running": 5,
            "kv_cache_usage_ratio": 0.5,
            "generation_tokens_total": 10,
            "requests_total": 6,
            "request_failures_total": 0,
        }
    ]


def test_kserve_and_torchserve_tell_their_requests(stage: Stage) -> None:
    torchserve = stage.serve({"GET /metrics": page(pages.TORCHSERVE)})

    assert once(stage, "kserve", pages.KSERVE) == {**UP, "requests_total": 5}
    assert looked(torchserve, "torchserve", {"url": torchserve.url}) == [
        {**UP, "requests_total": 9, "request_failures_total": 1}
    ]


def test_gradio_tells_its_queue_and_how_often_each_function_was_called(stage: Stage) -> None:
    summary = {"functions": {"chat": {"success_rate": 0.5, "total_requests": 12}, "upper": {"total_requests": 3}}}
    answers = recorded("gradio-6.31.0/get_gradio_api_queue_status")
    service = stage.serve({**answers, "GET /monitoring/summary": in_json(summary)})

    assert looked(service, "gradio") == [
        {**UP, "requests_waiting": 0, 'requests_total{handler="chat"}': 12, 'requests_total{handler="upper"}': 3}
    ]


def test_gradio_whose_monitoring_is_off_tells_its_queue(stage: Stage) -> None:
    monitoring = reply('{"detail":"Monitoring is not enabled."}', 403, JSON)
    older = stage.serve({"GET /queue/status": in_json({"queue_size": 4}), "GET /monitoring/summary": monitoring})

    assert looked(older, "gradio") == [{**UP, "requests_waiting": 4}]


def test_what_a_guide_counts_by_hand_is_read_where_the_operator_says(stage: Stage) -> None:
    gradio, beside = stage.serve({}), stage.serve({"GET /metrics": page(pages.GUIDE)})

    [seen] = looked(gradio, "gradio", {"url": beside.url}, publish="all")

    assert (seen["requests_total"], seen['request_duration_seconds_bucket{le="1.0"}']) == (17, 11)
    assert not gradio.requests


def test_every_figure_has_its_metric_and_every_vocabulary_its_engine() -> None:
    assert set(Figure) <= declarations(Server).keys()
    assert set(Proof) <= declarations(Progress).keys()
    assert set(VOCABULARIES) <= set(ENGINES)
    assert set(get_args(Publish)) == {"none", "gauges", "all"}


@pytest.mark.parametrize("engine", VOCABULARIES)
def test_a_vocabulary_asks_only_where_asking_does_no_harm(engine: str) -> None:
    vocabulary = VOCABULARIES[engine]
    ways = [*vocabulary.ways, *vocabulary.ways_if_asked]
    paths = {path for way in ways for place in way for path in (place.path, place.ask_first) if path}

    assert paths <= {
        *("/metrics", "/v1/metrics", "/prometheus/metrics", "/v1/loads", "/slots", "/props"),
        *("/gradio_api/queue/status", "/queue/status", "/monitoring/summary"),
    }


@pytest.mark.parametrize(
    ("engine", "server", "series", "counts"),
    [
        ("llama-server", "llama-server-0.7.0", "prompt_tokens_total", [0, 114]),
        ("bentoml", "bentoml-1.4", 'requests_total{handler="/gen",status="2xx"}', [0, 1]),
        ("fastapi", "fastapi-image", 'requests_total{handler="/generate",method="POST",status="2xx"}', [None, 1]),
    ],
)
def test_of_a_recorded_server_the_counters_grow_with_what_it_is_asked(
    stage: Stage, engine: str, server: str, series: str, counts: Sequence[float | None]
) -> None:
    pages_then = [recorded(f"{server}/{name}")["GET /metrics"] for name in ("get_metrics", "metrics_after")]
    service = stage.serve({"GET /metrics": in_turn(*pages_then)})

    seen = looked(service, engine, ASKED, times=2)

    assert [each.get(series) for each in seen] == counts
