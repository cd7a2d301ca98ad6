"""What engines prove of their progress: what each proof moves with, and above all what it does not."""

from collections.abc import Mapping
from itertools import pairwise

import pytest

from exporter.figures import Proof
from exporter.vocabularies import VOCABULARIES
from tests.services.recorded import recorded
from tests.services.scripted import Service, Stage, in_turn, reply
from tests.sources.looks import JSON, in_json, looks, page, progress, proven

GENERATING, ANSWERED, ENDED, PREFILLING = Proof

VLLM = """\
vllm:generation_tokens_total{{engine="0"}} {generated}
vllm:generation_tokens_total{{engine="1"}} 70
vllm:prompt_tokens_total{{engine="0"}} {read}
vllm:kv_cache_usage_perc{{engine="0"}} {cache}
vllm:request_success_total{{engine="0",finished_reason="stop"}} {stopped}
vllm:request_success_total{{engine="0",finished_reason="abort"}} {aborted}
"""
SGLANG = """\
sglang:realtime_tokens_total{{mode="decode",tp_rank="0"}} {generated}
sglang:realtime_tokens_total{{mode="prefill_compute",tp_rank="0"}} {read}
sglang:realtime_tokens_total{{mode="prefill_cache",tp_rank="0"}} {cached}
sglang:num_used_tokens{{tp_rank="0"}} {used}
sglang:generation_tokens_total{{is_streaming="true"}} {told}
"""
SGLANG_OF_OLD = """\
sglang:num_used_tokens{{tp_rank="0"}} {used}
sglang:generation_tokens_total {told}
"""
TGI = """\
tgi_batch_forward_duration_count{{method="decode"}} {generated}
tgi_batch_forward_duration_count{{method="prefill"}} {read}
tgi_request_generated_tokens_sum {told}
tgi_request_count {begun}
"""
LLAMA_SERVER = """\
llamacpp:n_decode_total {generated}
llamacpp:prompt_tokens_total {read}
llamacpp:tokens_predicted_total {told}
llamacpp:predicted_tokens_seconds {speed}
"""
NIM = """\
generation_tokens_total {generated}
prompt_tokens_total {read}
request_finish_total{{finished_reason="stop"}} {stopped}
request_finish_total{{finished_reason="abort"}} {aborted}
"""
LMDEPLOY = """\
lmdeploy:generation_tokens_total {generated}
lmdeploy:prompt_tokens_total {read}
lmdeploy:request_success_total{{finished_reason="stop"}} {stopped}
"""
TRTLLM = """\
trtllm_generation_tokens_total {told}
trtllm_request_success_total {stopped}
"""
TRITON = """\
nv_inference_request_success{{model="m"}} {answered}
nv_inference_request_failure{{model="m",reason="CANCELED"}} {cancelled}
nv_trt_llm_general_metrics{{general_type="iteration_counter"}} {iterations}
nv_trt_llm_general_metrics{{general_type="timestamp"}} {now}
"""
TEI = "te_request_count {begun}\nte_request_success {answered}\n"
OMNI = "vllm_omni:e2e_request_latency_s_count {told}\n"
DIFFUSION = "sglang:diffusion_requests_total {told}\n"
KSERVE = "request_predict_seconds_count {answered}\n"
TORCHSERVE = "ts_inference_requests_total {begun}\nts_inference_latency_microseconds {told}\n"
RAY_LLM = VLLM.replace("vllm:", "ray_vllm_")
RAY = """\
ray_serve_num_http_requests_total{{route="/chat",method="POST",status_code="200"}} {answered}
ray_serve_num_http_requests_total{{route="/-/healthz",method="GET",status_code="200"}} {probed}
"""
MLSERVER = """\
rest_server_requests_total{{method="POST",path="/v2/models/echo/infer",status_code="200"}} {answered}
rest_server_requests_total{{method="GET",path="/v2/health/ready",status_code="200"}} {probed}
"""
BENTOML = """\
bentoml_service_request_total{{endpoint="/generate",http_response_code="200"}} {answered}
bentoml_service_request_total{{endpoint="/generate",http_response_code="500"}} {failed}
bentoml_service_request_total{{endpoint="/readyz",http_response_code="200"}} {probed}
"""
FASTAPI = """\
http_requests_total{{handler="/generate",method="POST",status="2xx"}} {answered}
http_requests_total{{handler="/generate",method="POST",status="4xx"}} {refused}
http_requests_total{{handler="/generate",method="POST",status="5xx"}} {failed}
http_requests_total{{handler="/metrics",method="GET",status="2xx"}} {probed}
http_requests_total{{handler="/whoever/is/there",method="GET",status="2xx"}} {looked}
http_requests_total{{handler="/health-check",method="POST",status="2xx"}} {checked}
"""
STARLETTE = 'starlette_requests_total{{method="POST",path="/mapping",status_code="201"}} {answered}\n'
FLASK = """\
flask_http_request_duration_seconds_count{{method="POST",path="/parse",status="200"}} {answered}
flask_http_request_duration_seconds_count{{method="GET",path="/livez",status="200"}} {probed}
flask_http_request_total{{method="GET",status="200"}} {looked}
"""
GUIDE = "model_requests_total {answered}\n"

TOLD = [
    ("vllm", VLLM, {"generated": GENERATING, "read": PREFILLING, "cache": PREFILLING, "stopped": ENDED}),
    ("vllm-omni", OMNI, {"told": ENDED}),
    ("sglang", SGLANG, {"generated": GENERATING, "read": PREFILLING, "told": ENDED}),
    ("sglang", SGLANG_OF_OLD, {"used": GENERATING, "told": ENDED}),
    ("sglang-diffusion", DIFFUSION, {"told": ENDED}),
    ("tgi", TGI, {"generated": GENERATING, "read": PREFILLING, "told": ENDED}),
    ("tei", TEI, {"answered": ANSWERED}),
    ("llama-server", LLAMA_SERVER, {"generated": GENERATING, "read": PREFILLING, "told": ENDED}),
    ("nim", NIM, {"generated": GENERATING, "read": PREFILLING, "stopped": ENDED}),
    ("nim", SGLANG, {"generated": GENERATING, "read": PREFILLING, "told": ENDED}),
    ("lmdeploy", LMDEPLOY, {"generated": GENERATING, "read": PREFILLING, "stopped": ENDED}),
    ("trtllm", TRTLLM, {"told": ENDED}),
    ("triton", TRITON, {"answered": ENDED, "iterations": PREFILLING}),
    ("triton", VLLM, {"generated": GENERATING, "read": PREFILLING, "cache": PREFILLING, "stopped": ENDED}),
    ("mlserver", MLSERVER, {"answered": ANSWERED}),
    ("kserve", KSERVE, {"answered": ANSWERED}),
    ("torchserve", TORCHSERVE, {"told": ENDED}),
    ("ray-serve", RAY, {"answered": ANSWERED}),
    ("ray-serve", RAY_LLM, {"generated": GENERATING, "read": PREFILLING, "cache": PREFILLING, "stopped": ENDED}),
    ("bentoml", BENTOML, {"answered": ANSWERED}),
    ("gradio", GUIDE, {"answered": ANSWERED}),
    ("fastapi", FASTAPI, {"answered": ANSWERED}),
    ("litserve", STARLETTE, {"answered": ANSWERED}),
    ("flask", FLASK, {"answered": ANSWERED}),
]


def marks(template: str) -> list[str]:
    """What may change in a page."""
    return [part.partition("}")[0] for part in template.replace("{{", "").split("{")[1:]]


@pytest.mark.parametrize(("engine", "template", "moving"), TOLD)
def test_each_proof_moves_with_its_own_figures_and_with_nothing_else(
    stage: Stage, engine: str, template: str, moving: Mapping[str, Proof]
) -> None:
    before = dict.fromkeys(marks(template), 0.125)
    changes = [(mark, page(template.format(**{**before, mark: 0.25}))) for mark in before]
    at_rest = page(template.format(**before))
    turns = [answer for _, changed in changes for answer in (at_rest, changed)]
    service = stage.serve({"GET /metrics": in_turn(*turns)})

    seen = proven(service, engine, {"url": service.url, "path": "/metrics"}, times=len(turns))

    moved = {
        mark: {proof for proof in Proof if rest.get(proof) != changed.get(proof)}
        for (mark, _), rest, changed in zip(changes, seen[::2], seen[1::2], strict=True)
    }
    assert moved == {mark: {moving[mark]} if mark in moving else set() for mark, _ in changes}
    assert set(seen[0]) == set(moving.values())


def test_every_engine_that_tells_anything_proves_something() -> None:
    assert [engine for engine, vocabulary in VOCABULARIES.items() if not vocabulary.proofs] == []


def test_a_rank_that_begins_again_does_not_hide_what_the_others_generate(stage: Stage) -> None:
    def both(one: int, other: int) -> str:
        return "".join(f'vllm:generation_tokens_total{{engine="{n}"}} {v}\n' for n, v in enumerate((one, other)))

    pages = [page(both(*counts)) for counts in ((100, 100), (80, 120), (80, 120), (0, 120))]
    service = stage.serve({"GET /metrics": in_turn(*pages)})

    seen = [each[GENERATING] for each in proven(service, "vllm", times=4)]

    assert seen == [200, 300, 300, 300]


def test_the_tokens_that_sglang_holds_tell_of_progress_whichever_way_they_go(stage: Stage) -> None:
    def loads(*used: int) -> Mapping[str, object]:
        return {"loads": [{"dp_rank": rank, "num_used_tokens": tokens} for rank, tokens in enumerate(used)]}

    answers = [in_json(loads(*used)) for used in ((50, 50), (60, 40), (60, 40), (20, 40), (0, 0))]
    service = stage.serve({"GET /v1/loads": in_turn(*answers)})

    seen = [each[GENERATING] for each in proven(service, "sglang", times=5)]

    assert seen == [100, 120, 120, 160, 220]


@pytest.mark.parametrize("path", ["/gradio_api/queue/status", "/queue/status"])
def test_gradio_proves_something_only_by_a_queue_that_gets_shorter(stage: Stage, path: str) -> None:
    sizes = [in_json({"queue_size": size}) for size in (0, 3, 3, 2, 4, 1)]
    calls = [in_json({"functions": {"chat": {"total_requests": calls}}}) for calls in range(6)]
    service = stage.serve({f"GET {path}": in_turn(*sizes), "GET /monitoring/summary": in_turn(*calls)})

    assert proven(service, "gradio", times=6) == [{ENDED: shorter} for shorter in (0, 0, 0, 1, 1, 4)]


def slots(stage: Stage, *states: object) -> Service:
    """A llama-server that is awake, with these slots in turn."""
    return stage.serve({"GET /slots": in_turn(*map(in_json, states)), "GET /props": in_json({"is_sleeping": False})})


def slot(task: int | None, prompt: int = 0, decoded: int = 0, *, busy: bool = True) -> Mapping[str, object]:
    """A slot as llama-server tells it."""
    of_task = {"id_task": task, "n_prompt_tokens_processed": prompt, "next_token": [{"n_decoded": decoded}]}
    return {"id": 0, "n_ctx": 512, "is_processing": busy, **({} if task is None else of_task)}


def test_a_slot_of_llama_server_proves_what_it_decodes_and_each_new_task(stage: Stage) -> None:
    states = [
        [slot(None, busy=False), slot(None, busy=False)],
        [slot(0, 512), slot(None, busy=False)],
        [slot(0, 700), slot(None, busy=False)],
        [slot(0, 700, 5), slot(3, 20, 2)],
        [slot(0, 700, 5), slot(3, 20, 2)],
        [slot(0, 700, 9), slot(3, busy=False)],
        [slot(0, busy=False), slot(3, busy=False)],
        [slot(0, 700, 9, busy=False), slot(3, busy=False)],
        [slot(8, busy=False), slot(3, busy=False)],
    ]

    seen = proven(slots(stage, *states), "llama-server", times=len(states))

    went_on = [after[GENERATING] > before[GENERATING] for before, after in pairwise(seen)]
    was_read = [after[PREFILLING] > before[PREFILLING] for before, after in pairwise(seen)]
    assert went_on == [True, False, True, False, True, False, False, True]
    assert was_read == [True, True, True, False, False, False, False, False]


def test_a_slot_is_understood_in_its_older_form_and_without_what_is_not_told(stage: Stage) -> None:
    older = {"id": 0, "is_processing": True, "id_task": 1, "next_token": {"n_decoded": 7}}
    states = [[{"id": 0, "is_processing": True}], [older], [None, older]]

    seen = proven(slots(stage, *states), "llama-server", times=3)

    assert [each[GENERATING] for each in seen] == [0, 9, 9]


def test_a_recorded_llama_server_went_on_between_two_looks(stage: Stage) -> None:
    idle, used = (recorded(f"llama-server-0.7.0/{name}")["GET /slots"] for name in ("get_slots", "slots_after"))
    answers = {"GET /slots": in_turn(idle, idle, used, used), **recorded("llama-server-0.7.0/get_props")}

    seen = [each[GENERATING] for each in proven(stage.serve(answers), "llama-server", times=4)]

    assert seen[0] == seen[1] == 0
    assert seen[2] == seen[3] > 0


def test_a_llama_server_that_sleeps_proves_nothing(stage: Stage) -> None:
    service = stage.serve({"GET /slots": in_json([slot(3, 5, 5)]), "GET /props": in_json({"is_sleeping": True})})

    assert proven(service, "llama-server", times=1) == [{}]
    assert not service.asked("GET", "/slots")


@pytest.mark.parametrize(
    ("engine", "server", "answered"), [("fastapi", "fastapi-image", [None, 2]), ("bentoml", "bentoml-1.4", [0, 2])]
)
def test_a_recorded_service_proves_what_it_answered_and_not_that_it_was_looked_at(
    stage: Stage, engine: str, server: str, answered: list[float | None]
) -> None:
    answers = [recorded(f"{server}/{name}")["GET /metrics"] for name in ("get_metrics", "metrics_after")]
    service = stage.serve({"GET /metrics": in_turn(*answers)})

    assert [each.get(ANSWERED) for each in proven(service, engine, times=2)] == answered


def test_a_page_that_is_refused_proves_nothing(stage: Stage) -> None:
    service = stage.serve({"GET /metrics": reply('{"detail":"Forbidden"}', 403, JSON)})

    [[said]] = looks(service, "vllm")

    assert progress(said) is None
