"""What each engine calls the figures that it tells of itself, and where it tells them."""

from collections.abc import Mapping
from dataclasses import replace

from exporter import proofs
from exporter.figures import Figure, Form, Names, Place, Sum, Term, Vocabulary, Way, either, together, under_ray

_NOT_THE_CLIENTS = "(?i)(?!overloaded|validation|template|tool|token|empty).*"
_INFERENCE = ".*/(infer|infer_stream|generate|generate_stream)"
_FAILING = "5(xx|[0-9][0-9])"


def failing(name: str, status: str) -> Sum:
    """Of the requests counted by a label of status, those that the service failed."""
    return (Term(name, counts_if={status: _FAILING}, status="5xx"),)


def aborted(name: str) -> Sum:
    """Of the requests counted by the reason why they ended, those that came to nothing."""
    return (Term(name, counts_if={"finished_reason": "error|abort"}),)


_INSTRUMENTED: Names = {
    # prometheus-fastapi-instrumentator, starlette_exporter, prometheus_flask_exporter, and what a guide writes by hand.
    Figure.REQUESTS_RUNNING: either("http_requests_inprogress", "starlette_requests_in_progress"),
    Figure.REQUESTS: either(
        "http_requests_total",
        "starlette_requests_total",
        "flask_http_request_duration_seconds_count",
        "flask_http_request_total",
        "model_requests_total",
    ),
    Figure.REQUEST_FAILURES: (
        failing("http_requests_total", "status"),
        failing("http_requests_total", "status_code"),
        failing("starlette_requests_total", "status_code"),
        failing("flask_http_request_duration_seconds_count", "status"),
        failing("flask_http_request_total", "status"),
    ),
    Figure.REQUEST_DURATION_SECONDS: either(
        "http_request_duration_seconds",
        "starlette_request_duration_seconds",
        "flask_http_request_duration_seconds",
        "model_request_duration_seconds",
    ),
}

_VLLM: Names = {
    Figure.REQUESTS_RUNNING: either("vllm:num_requests_running"),
    Figure.REQUESTS_WAITING: either("vllm:num_requests_waiting"),
    Figure.KV_CACHE_USAGE_RATIO: either("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    Figure.PROMPT_TOKENS: either("vllm:prompt_tokens_total"),
    Figure.GENERATION_TOKENS: either("vllm:generation_tokens_total"),
    Figure.CACHED_PROMPT_TOKENS: either(
        "vllm:prompt_tokens_cached_total", "vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"
    ),
    Figure.PREEMPTIONS: either("vllm:num_preemptions_total"),
    Figure.REQUESTS: either("vllm:request_success_total"),
    Figure.REQUEST_FAILURES: (aborted("vllm:request_success_total"),),
    Figure.FIRST_TOKEN_SECONDS: either("vllm:time_to_first_token_seconds"),
    Figure.TIME_PER_OUTPUT_TOKEN_SECONDS: either(
        "vllm:request_time_per_output_token_seconds",
        "vllm:inter_token_latency_seconds",
        "vllm:time_per_output_token_seconds",
    ),
    Figure.REQUEST_DURATION_SECONDS: either("vllm:e2e_request_latency_seconds"),
    Figure.QUEUE_SECONDS: either("vllm:request_queue_time_seconds"),
}

_OMNI: Names = {
    Figure.REQUESTS_RUNNING: either("vllm_omni:num_requests_running"),
    Figure.REQUESTS_WAITING: either("vllm_omni:num_requests_waiting"),
    Figure.REQUEST_DURATION_SECONDS: either("vllm_omni:e2e_request_latency_s"),
}

_SGLANG: Names = {
    Figure.REQUESTS_RUNNING: either("sglang:num_running_reqs", "loads.num_running_reqs"),
    Figure.REQUESTS_WAITING: either("sglang:num_queue_reqs", "loads.num_waiting_reqs"),
    Figure.KV_CACHE_USAGE_RATIO: either("sglang:token_usage", "loads.token_usage"),
    Figure.PROMPT_TOKENS: either("sglang:prompt_tokens_total"),
    Figure.GENERATION_TOKENS: either("sglang:generation_tokens_total"),
    Figure.CACHED_PROMPT_TOKENS: either("sglang:cached_tokens_total"),
    Figure.PREEMPTIONS: either("sglang:num_retracted_requests_total"),
    Figure.REQUESTS: either("sglang:num_requests_total"),
    Figure.REQUEST_FAILURES: either("sglang:num_aborted_requests_total"),
    Figure.FIRST_TOKEN_SECONDS: either("sglang:time_to_first_token_seconds"),
    Figure.TIME_PER_OUTPUT_TOKEN_SECONDS: either(
        "sglang:request_time_per_output_token_seconds",
        "sglang:inter_token_latency_seconds",
        "sglang:time_per_output_token_seconds",
    ),
    Figure.REQUEST_DURATION_SECONDS: either("sglang:e2e_request_latency_seconds"),
    Figure.QUEUE_SECONDS: either("sglang:queue_time_seconds"),
}

_SGLANG_DIFFUSION: Names = {
    Figure.REQUESTS_RUNNING: either("sglang:diffusion_num_running_reqs"),
    Figure.REQUESTS_WAITING: either("sglang:diffusion_num_queue_reqs"),
    Figure.REQUESTS: either("sglang:diffusion_requests_total"),
    Figure.REQUEST_DURATION_SECONDS: either("sglang:diffusion_request_latency_seconds"),
    Figure.QUEUE_SECONDS: either("sglang:diffusion_queue_time_seconds"),
}

_NIM: Names = {
    # Of version 1, which names its own without a prefix.
    Figure.REQUESTS_RUNNING: either("num_requests_running"),
    Figure.REQUESTS_WAITING: either("num_requests_waiting"),
    Figure.KV_CACHE_USAGE_RATIO: either("gpu_cache_usage_perc"),
    Figure.PROMPT_TOKENS: either("prompt_tokens_total"),
    Figure.GENERATION_TOKENS: either("generation_tokens_total"),
    Figure.REQUESTS: either("request_success_total", "request_finish_total"),
    Figure.REQUEST_FAILURES: (aborted("request_success_total"), aborted("request_finish_total")),
    Figure.FIRST_TOKEN_SECONDS: either("time_to_first_token_seconds"),
    Figure.TIME_PER_OUTPUT_TOKEN_SECONDS: either("time_per_output_token_seconds"),
    Figure.REQUEST_DURATION_SECONDS: either("e2e_request_latency_seconds"),
}

_TGI: Names = {
    Figure.REQUESTS_RUNNING: either("tgi_batch_current_size"),
    Figure.REQUESTS_WAITING: either("tgi_queue_size"),
    Figure.PROMPT_TOKENS: either("tgi_request_input_length_sum"),
    Figure.GENERATION_TOKENS: either("tgi_request_generated_tokens_sum"),
    Figure.REQUESTS: either("tgi_request_count"),
    Figure.REQUEST_FAILURES: ((Term("tgi_request_failure", counts_if={"err": _NOT_THE_CLIENTS}),),),
    Figure.TIME_PER_OUTPUT_TOKEN_SECONDS: either("tgi_request_mean_time_per_token_duration"),
    Figure.REQUEST_DURATION_SECONDS: either("tgi_request_duration"),
    Figure.QUEUE_SECONDS: either("tgi_request_queue_duration"),
}

_TEI: Names = {
    Figure.REQUESTS_WAITING: either("te_queue_size"),
    Figure.PROMPT_TOKENS: either("te_request_input_length_sum"),
    Figure.REQUESTS: either("te_request_count"),
    Figure.REQUEST_FAILURES: ((Term("te_request_failure", counts_if={"err": _NOT_THE_CLIENTS}),),),
    Figure.REQUEST_DURATION_SECONDS: either("te_request_duration"),
    Figure.QUEUE_SECONDS: either("te_request_queue_duration"),
}

_LLAMA_SERVER: Names = {
    Figure.REQUESTS_RUNNING: either("llamacpp:requests_processing", "slots.processing"),
    Figure.REQUESTS_WAITING: either("llamacpp:requests_deferred"),
    Figure.KV_CACHE_USAGE_RATIO: either("slots.kv_cache_usage"),
    # Its prompt tokens leave out those from the cache, so that without these the sum is not known.
    Figure.PROMPT_TOKENS: ((Term("llamacpp:prompt_tokens_total"), Term("llamacpp:prompt_tokens_cached_total")),),
    Figure.GENERATION_TOKENS: either("llamacpp:tokens_predicted_total"),
    Figure.CACHED_PROMPT_TOKENS: either("llamacpp:prompt_tokens_cached_total"),
}

_TRTLLM: Names = {
    Figure.REQUESTS_RUNNING: either("trtllm_num_requests_running"),
    Figure.REQUESTS_WAITING: either("trtllm_num_requests_waiting"),
    Figure.KV_CACHE_USAGE_RATIO: either("trtllm_kv_cache_utilization"),
    Figure.PROMPT_TOKENS: either("trtllm_prompt_tokens_total"),
    Figure.GENERATION_TOKENS: either("trtllm_generation_tokens_total"),
    Figure.CACHED_PROMPT_TOKENS: either("trtllm_prompt_cached_tokens_total"),
    Figure.REQUESTS: (
        (Term("trtllm_request_success_total"), Term("trtllm_request_error_total")),
        (Term("trtllm_request_success_total"),),
    ),
    Figure.REQUEST_FAILURES: (failing("trtllm_request_error_total", "http_code"),),
    Figure.FIRST_TOKEN_SECONDS: either("trtllm_time_to_first_token_seconds"),
    Figure.TIME_PER_OUTPUT_TOKEN_SECONDS: either("trtllm_time_per_output_token_seconds"),
    Figure.REQUEST_DURATION_SECONDS: either("trtllm_e2e_request_latency_seconds"),
    Figure.QUEUE_SECONDS: either("trtllm_request_queue_time_seconds"),
}

_LMDEPLOY: Names = {
    Figure.REQUESTS_RUNNING: either("lmdeploy:num_requests_running"),
    Figure.REQUESTS_WAITING: either("lmdeploy:num_requests_waiting"),
    Figure.KV_CACHE_USAGE_RATIO: either("lmdeploy:gpu_cache_usage_perc"),
    Figure.PROMPT_TOKENS: either("lmdeploy:prompt_tokens_total"),
    Figure.GENERATION_TOKENS: either("lmdeploy:generation_tokens_total"),
    Figure.REQUESTS: either("lmdeploy:request_success_total"),
    Figure.REQUEST_FAILURES: (aborted("lmdeploy:request_success_total"),),
    Figure.FIRST_TOKEN_SECONDS: either("lmdeploy:time_to_first_token_seconds"),
    Figure.TIME_PER_OUTPUT_TOKEN_SECONDS: either(
        "lmdeploy:time_per_output_token_seconds", "lmdeploy:iter_token_latency"
    ),
    Figure.REQUEST_DURATION_SECONDS: either("lmdeploy:e2e_request_latency_seconds"),
    Figure.QUEUE_SECONDS: either("lmdeploy:request_queue_time_seconds"),
}

_TRITON: Names = {
    Figure.REQUESTS_RUNNING: ((Term("nv_trt_llm_request_metrics", only={"request_type": "scheduled"}),),),
    Figure.REQUESTS_WAITING: (
        (Term("nv_trt_llm_request_metrics", only={"request_type": "waiting"}),),
        (Term("nv_inference_pending_request_count"),),
    ),
    Figure.KV_CACHE_USAGE_RATIO: (
        (Term("nv_trt_llm_kv_cache_block_metrics", only={"kv_cache_block_type": "fraction"}),),
    ),
    Figure.REQUESTS: (
        (Term("nv_inference_request_success"), Term("nv_inference_request_failure")),
        (Term("nv_inference_request_success"),),
    ),
    Figure.REQUEST_FAILURES: either("nv_inference_request_failure"),
    Figure.FIRST_TOKEN_SECONDS: ((Term("nv_inference_first_response_histogram_ms", per=1e3),),),
}

_MLSERVER: Names = {
    # Its own count of failures holds those that are the client's, such as an unknown model; the status tells.
    Figure.REQUESTS_RUNNING: ((Term("rest_server_requests_in_progress", only={"method": "POST"}),),),
    Figure.REQUESTS: ((Term("rest_server_requests_total", only={"path": _INFERENCE}),),),
    Figure.REQUEST_FAILURES: (
        (
            Term(
                "rest_server_requests_total",
                only={"path": _INFERENCE},
                counts_if={"status_code": _FAILING},
                status="5xx",
            ),
        ),
    ),
    Figure.REQUEST_DURATION_SECONDS: ((Term("rest_server_request_duration_seconds", only={"path": _INFERENCE}),),),
}

_KSERVE: Names = {
    Figure.REQUESTS: either("request_predict_seconds_count"),
    Figure.REQUEST_DURATION_SECONDS: either("request_predict_seconds"),
}

_RAY_SERVE: Names = {
    Figure.REQUESTS_RUNNING: either("ray_serve_num_ongoing_http_requests"),
    Figure.REQUESTS_WAITING: either("ray_serve_deployment_queued_queries"),
    Figure.REQUESTS: either("ray_serve_num_http_requests_total", "ray_serve_num_http_requests"),
    Figure.REQUEST_FAILURES: (
        failing("ray_serve_num_http_requests_total", "status_code"),
        failing("ray_serve_num_http_requests", "status_code"),
        failing("ray_serve_num_http_error_requests_total", "error_code"),
        failing("ray_serve_num_http_error_requests", "error_code"),
    ),
    Figure.REQUEST_DURATION_SECONDS: ((Term("ray_serve_http_request_latency_ms", per=1e3),),),
}

_BENTOML: Names = {
    Figure.REQUESTS_RUNNING: either("bentoml_service_request_in_progress", "bentoml_api_server_request_in_progress"),
    Figure.REQUESTS: either("bentoml_service_request_total", "bentoml_api_server_request_total"),
    Figure.REQUEST_FAILURES: (
        failing("bentoml_service_request_total", "http_response_code"),
        failing("bentoml_api_server_request_total", "http_response_code"),
    ),
    Figure.REQUEST_DURATION_SECONDS: either(
        "bentoml_service_request_duration_seconds", "bentoml_api_server_request_duration_seconds"
    ),
}

_TORCHSERVE: Names = {
    Figure.REQUESTS: either("ts_inference_requests_total"),
    Figure.REQUEST_FAILURES: either("Requests5XX_total", "Requests5XX"),
}

_GRADIO: Names = {
    Figure.REQUESTS_WAITING: either("queue.size"),
    Figure.REQUESTS: either("functions.total_requests"),
}

_PAGE: Way = (Place("/metrics"),)
_MONITORING = Place("/monitoring/summary", Form.FUNCTIONS)
_SLOTS = Place("/slots", Form.SLOTS, ask_first="/props")

_WEB = Vocabulary(
    names=_INSTRUMENTED,
    proofs=proofs.WEB,
    handler=("handler", "endpoint", "url_rule", "path"),
    method=("method",),
    status=("status", "status_code"),
)

_TRITON_AND_ITS_ENGINES = Vocabulary(names=together(_TRITON, _VLLM), proofs=together(proofs.VLLM, proofs.TRITON))

VOCABULARIES: Mapping[str, Vocabulary] = {
    "vllm": Vocabulary(names=_VLLM, proofs=proofs.VLLM),
    "vllm-omni": Vocabulary(names=together(_OMNI, _VLLM), proofs=together(proofs.OMNI, proofs.VLLM)),
    "sglang": Vocabulary(names=_SGLANG, proofs=proofs.SGLANG, ways=(_PAGE, (Place("/v1/loads", Form.LOADS),))),
    "sglang-diffusion": Vocabulary(names=_SGLANG_DIFFUSION, proofs=proofs.SGLANG_DIFFUSION),
    "tgi": Vocabulary(names=_TGI, proofs=proofs.TGI),
    "tei": Vocabulary(names=_TEI, proofs=proofs.TEI),
    "llama-server": Vocabulary(
        names=_LLAMA_SERVER, proofs=proofs.LLAMA_SERVER, ways=((_SLOTS,),), ways_if_asked=((*_PAGE, _SLOTS),)
    ),
    "trtllm": Vocabulary(
        names=_TRTLLM, proofs=proofs.TRTLLM, ways=(), ways_if_asked=((Place("/prometheus/metrics"),),)
    ),
    "lmdeploy": Vocabulary(names=_LMDEPLOY, proofs=proofs.LMDEPLOY),
    "nim": Vocabulary(
        names=together(_NIM, _VLLM, _SGLANG),
        proofs=together(proofs.NIM, proofs.VLLM, proofs.SGLANG),
        ways=((Place("/v1/metrics"),), _PAGE),
    ),
    "triton": replace(_TRITON_AND_ITS_ENGINES, ports=(8000, 8002)),
    "triton-openai": _TRITON_AND_ITS_ENGINES,
    "mlserver": Vocabulary(
        names=_MLSERVER,
        proofs=proofs.MLSERVER,
        ports=(8080, 8082),
        handler=("path",),
        method=("method",),
        status=("status_code",),
    ),
    "kserve": Vocabulary(names=_KSERVE, proofs=proofs.KSERVE),
    "torchserve": Vocabulary(names=_TORCHSERVE, proofs=proofs.TORCHSERVE, ports=(8080, 8082)),
    # Told by the agent of its node, for all that runs there: the operator says where.
    "ray-serve": Vocabulary(
        names=together(under_ray(_VLLM), _RAY_SERVE),
        proofs=together(under_ray(proofs.VLLM), proofs.RAY_SERVE),
        ways=(),
        ways_if_asked=(_PAGE,),
        handler=("route",),
        method=("method",),
        status=("status_code", "error_code"),
    ),
    "bentoml": Vocabulary(names=_BENTOML, proofs=proofs.BENTOML, handler=("endpoint",), status=("http_response_code",)),
    "gradio": replace(
        _WEB,
        names=together(_GRADIO, _INSTRUMENTED),
        proofs=together(proofs.GRADIO, proofs.WEB),
        ways=(
            (Place("/gradio_api/queue/status", Form.QUEUE), _MONITORING),
            (Place("/queue/status", Form.QUEUE), _MONITORING),
        ),
        ways_if_asked=(_PAGE,),
    ),
    "litserve": _WEB,
    "infinity": _WEB,
    "fastapi": _WEB,
    "flask": _WEB,
    # A page of nobody knows whom is read only where the operator says that it may be.
    "unknown": replace(_WEB, ways=(), ways_if_asked=(_PAGE,)),
}
"""By the engine's name; one that is missing here tells nothing of itself."""
