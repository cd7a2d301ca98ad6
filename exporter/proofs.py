"""By which of its figures each engine proves that it goes on, and how much each of them proves."""

from collections.abc import Mapping, Sequence

from exporter.figures import Moves, Proof, Proofs, Sum, Term, either

_INFERENCE = ".*/(infer|infer_stream|generate|generate_stream)"
_ROUTES = ("handler", "endpoint", "url_rule", "path", "route")
_STATUSES = ("status", "status_code", "http_response_code", "code")
_WELL = "(2(xx|[0-9][0-9]))?"
_NO_LOOK = "(?!GET|HEAD|OPTIONS).*"
_NO_PAGE = (
    "(?i)(?!.*/(metrics|docs|redoc|(docs|openapi|schema)[.]json|config|info|version|props|models"
    "|([a-z0-9]+[_-])*(healthy?|alive|live|liveness|ready|readiness|ping|status)z?([_-]?(check|probe))?)/*$).*"
)


def completed(name: str) -> Sequence[Sum]:
    """Of requests counted by the reason why they ended, those with an answer: one that we give up on is aborted."""
    return ((Term(name, counts_if={"finished_reason": "(?!error|abort).*"}),),)


def answered(*names: str, only: Mapping[str, str] | None = None) -> Sequence[Sum]:
    """Of requests counted by route, method and status, where told, those with an answer that is no refusal.

    Who looks whether a service is there does so by GET, or at one of the usual pages, and proves nothing.
    """
    labels = {"method": _NO_LOOK, **dict.fromkeys(_STATUSES, _WELL), **dict.fromkeys(_ROUTES, _NO_PAGE), **(only or {})}
    return tuple((Term(name, only=labels),) for name in names)


VLLM: Proofs = {
    Proof.GENERATING: either("vllm:generation_tokens_total"),
    Proof.ENDED: completed("vllm:request_success_total"),
    # A prompt is counted when all of it was read. While it is, blocks of the cache are taken for it piece by piece.
    Proof.PREFILLING: (
        (Term("vllm:prompt_tokens_total"), Term("vllm:kv_cache_usage_perc", moves=Moves.EITHER)),
        (Term("vllm:prompt_tokens_total"),),
    ),
}

OMNI: Proofs = {Proof.ENDED: either("vllm_omni:e2e_request_latency_s_count")}

SGLANG: Proofs = {
    Proof.GENERATING: (
        (Term("sglang:realtime_tokens_total", only={"mode": "decode"}),),
        (Term("sglang:num_used_tokens", moves=Moves.EITHER),),
        (Term("loads.num_used_tokens", moves=Moves.EITHER),),
    ),
    Proof.ENDED: either("sglang:generation_tokens_total"),
    Proof.PREFILLING: (
        (Term("sglang:realtime_tokens_total", only={"mode": "prefill_compute"}),),
        (Term("sglang:prompt_tokens_total"),),
    ),
}

SGLANG_DIFFUSION: Proofs = {Proof.ENDED: either("sglang:diffusion_requests_total")}

NIM: Proofs = {
    Proof.GENERATING: either("generation_tokens_total"),
    Proof.ENDED: (*completed("request_success_total"), *completed("request_finish_total")),
    Proof.PREFILLING: either("prompt_tokens_total"),
}

TGI: Proofs = {
    Proof.GENERATING: ((Term("tgi_batch_forward_duration_count", only={"method": "decode"}),),),
    Proof.ENDED: either("tgi_request_generated_tokens_sum"),
    Proof.PREFILLING: ((Term("tgi_batch_forward_duration_count", only={"method": "prefill"}),),),
}

TEI: Proofs = {Proof.ANSWERED: either("te_request_success")}

LLAMA_SERVER: Proofs = {
    Proof.GENERATING: (
        # A slot that was given another task went on, however little of it was seen.
        (Term("slots.decoded"), Term("slots.task")),
        (Term("llamacpp:n_decode_total"),),
    ),
    Proof.ENDED: either("llamacpp:tokens_predicted_total"),
    Proof.PREFILLING: either("slots.prompt", "llamacpp:prompt_tokens_total"),
}

# Its tokens are counted when a request ends.
TRTLLM: Proofs = {Proof.ENDED: (*either("trtllm_generation_tokens_total"), *completed("trtllm_request_success_total"))}

LMDEPLOY: Proofs = {
    Proof.GENERATING: either("lmdeploy:generation_tokens_total"),
    Proof.ENDED: completed("lmdeploy:request_success_total"),
    Proof.PREFILLING: either("lmdeploy:prompt_tokens_total"),
}

TRITON: Proofs = {
    Proof.ENDED: either("nv_inference_request_success"),
    Proof.PREFILLING: ((Term("nv_trt_llm_general_metrics", only={"general_type": "iteration_counter"}),),),
}

MLSERVER: Proofs = {Proof.ANSWERED: answered("rest_server_requests_total", only={"path": _INFERENCE})}

KSERVE: Proofs = {Proof.ANSWERED: either("request_predict_seconds_count")}

# It counts requests when they come, but their time when they end.
TORCHSERVE: Proofs = {Proof.ENDED: either("ts_inference_latency_microseconds")}

RAY_SERVE: Proofs = {Proof.ANSWERED: answered("ray_serve_num_http_requests_total", "ray_serve_num_http_requests")}

BENTOML: Proofs = {
    Proof.ANSWERED: answered("bentoml_service_request_total", "bentoml_api_server_request_total"),
}

# It counts calls when they come, so that only a queue that gets shorter tells of an answer; one long request leaves it.
GRADIO: Proofs = {Proof.ENDED: ((Term("queue.size", moves=Moves.DOWN),),)}

WEB: Proofs = {
    Proof.ANSWERED: answered(
        "http_requests_total",
        "starlette_requests_total",
        "flask_http_request_duration_seconds_count",
        "flask_http_request_total",
        "model_requests_total",
    ),
}
