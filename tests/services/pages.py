"""Pages of metrics as engines are known to write them: by the reference of their names and labels, not recorded.

Each is short of what an engine tells besides, and shows what is easily misread.
"""

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="qwen"} 3.0
vllm:num_requests_running{engine="1",model_name="qwen"} 1.0
vllm:num_requests_waiting{engine="0",model_name="qwen"} 5.0
vllm:num_requests_waiting{engine="1",model_name="qwen"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="qwen",reason="capacity"} 5.0
vllm:kv_cache_usage_perc{engine="0",model_name="qwen"} 0.75
vllm:kv_cache_usage_perc{engine="1",model_name="qwen"} 0.25
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="qwen"} 1000.0
vllm:prompt_tokens_total{engine="1",model_name="qwen"} 500.0
vllm:prompt_tokens_created{engine="0",model_name="qwen"} 1.7953184e+09
vllm:prompt_tokens_by_source_total{engine="0",model_name="qwen",source="local_compute"} 700.0
vllm:prompt_tokens_cached_total{engine="0",model_name="qwen"} 300.0
vllm:prefix_cache_hits_total{engine="0",model_name="qwen"} 290.0
vllm:generation_tokens_total{engine="0",model_name="qwen"} 200.0
vllm:num_preemptions_total{engine="0",model_name="qwen"} 2.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="qwen"} 40.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="qwen"} 7.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="qwen"} 2.0
vllm:request_success_total{engine="0",finished_reason="error",model_name="qwen"} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02",model_name="qwen"} 10.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5",model_name="qwen"} 40.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="qwen"} 50.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="qwen"} 50.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="qwen"} 12.5
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.02",model_name="qwen"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.5",model_name="qwen"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="1",le="+Inf",model_name="qwen"} 2.0
vllm:time_to_first_token_seconds_count{engine="1",model_name="qwen"} 2.0
vllm:time_to_first_token_seconds_sum{engine="1",model_name="qwen"} 1.0
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf",model_name="qwen"} 9.0
http_requests_total{handler="/v1/chat/completions",method="POST",status="5xx"} 9.0
"""

VLLM_OF_OLD = """\
vllm:num_requests_running{model_name="qwen"} 3.0
vllm:gpu_cache_usage_perc{model_name="qwen"} 0.5
vllm:gpu_prefix_cache_hits_total{model_name="qwen"} 30.0
vllm:time_per_output_token_seconds_bucket{le="0.1",model_name="qwen"} 4.0
vllm:time_per_output_token_seconds_bucket{le="+Inf",model_name="qwen"} 4.0
vllm:time_per_output_token_seconds_sum{model_name="qwen"} 0.2
"""

VLLM_OMNI = """\
vllm_omni:num_requests_running{model_name="omni"} 1.0
vllm:num_requests_running{engine="0",model_name="omni"} 2.0
vllm:num_requests_waiting{engine="0",model_name="omni"} 4.0
"""

SGLANG = """\
sglang:num_running_reqs{model_name="llama",moe_ep_rank="0",pp_rank="0",tp_rank="0",dp_rank="0"} 4.0
sglang:num_running_reqs{model_name="llama",moe_ep_rank="0",pp_rank="0",tp_rank="1",dp_rank="0"} 4.0
sglang:num_running_reqs{model_name="llama",moe_ep_rank="0",pp_rank="0",tp_rank="0",dp_rank="1"} 1.0
sglang:num_queue_reqs{model_name="llama",priority="",tp_rank="0"} 6.0
sglang:num_queue_reqs{model_name="llama",priority="0",tp_rank="0"} 2.0
sglang:num_queue_reqs{model_name="llama",priority="1",tp_rank="0"} 4.0
sglang:num_grammar_queue_reqs{model_name="llama",tp_rank="0"} 1.0
sglang:token_usage{model_name="llama",tp_rank="0",dp_rank="0"} 0.2
sglang:token_usage{model_name="llama",tp_rank="0",dp_rank="1"} 0.4
sglang:prompt_tokens_total{is_streaming="true",model_name="llama"} 100.0
sglang:prompt_tokens_total{is_streaming="false",model_name="llama"} 50.0
sglang:generation_tokens_total{is_streaming="true",model_name="llama"} 25.0
sglang:cached_tokens_total{cache_source="device",model_name="llama"} 7.0
sglang:cached_tokens_total{cache_source="host",model_name="llama"} 3.0
sglang:num_retracted_requests_total{model_name="llama",tp_rank="0"} 1.0
sglang:num_requests_total{is_streaming="true",model_name="llama"} 10.0
sglang:num_aborted_requests_total{model_name="llama"} 2.0
sglang:http_responses_total{endpoint="/generate",method="POST",status_code="500"} 8.0
"""

SGLANG_DIFFUSION = """\
sglang:diffusion_num_running_reqs 1.0
sglang:diffusion_num_queue_reqs 2.0
sglang:diffusion_requests_total 30.0
"""

TGI = """\
tgi_batch_current_size 2
tgi_queue_size 1
tgi_request_count 20
tgi_request_success 15
tgi_request_failure{err="overloaded"} 2
tgi_request_failure{err="validation"} 1
tgi_request_failure{err="generation"} 1
tgi_request_failure{err="incomplete"} 1
tgi_request_input_length_bucket{le="1"} 0
tgi_request_input_length_bucket{le="+Inf"} 15
tgi_request_input_length_sum 400
tgi_request_input_length_count 15
tgi_request_generated_tokens_sum 120
tgi_request_duration_bucket{le="0.1"} 3
tgi_request_duration_bucket{le="0.15000000000000002"} 15
tgi_request_duration_bucket{le="+Inf"} 15
tgi_request_duration_sum 1.75
tgi_request_duration_count 15
"""

TEI = """\
te_queue_size 3
te_request_count{method="single"} 8
te_request_count{method="batch"} 2
te_request_success{method="single"} 6
te_request_failure{err="Overloaded"} 1
te_request_failure{err="backend"} 2
te_request_input_length_sum{method="single"} 64
"""

LMDEPLOY = """\
lmdeploy:num_requests_running{engine="0",model_name="internlm"} 2.0
lmdeploy:num_requests_waiting{engine="0",model_name="internlm"} 1.0
lmdeploy:num_api_requests_waiting{engine="0",model_name="internlm"} 9.0
lmdeploy:gpu_cache_usage_perc{engine="0",model_name="internlm"} 0.125
lmdeploy:prompt_tokens_total{engine="0",model_name="internlm"} 30.0
lmdeploy:generation_tokens_total{engine="0",model_name="internlm"} 20.0
lmdeploy:request_success_total{engine="0",finished_reason="stop",model_name="internlm"} 4.0
lmdeploy:num_requests_failed{engine="0",model_name="internlm"} 3.0
"""

TRTLLM = """\
trtllm_num_requests_running{engine_type="undefined",model_name="undefined"} 1.0
trtllm_num_requests_waiting{engine_type="undefined",model_name="undefined"} 0.0
trtllm_kv_cache_utilization{engine_type="undefined",model_name="undefined"} 0.5
trtllm_prompt_tokens_total{engine_type="undefined",model_name="undefined"} 80.0
trtllm_generation_tokens_total{engine_type="undefined",model_name="undefined"} 40.0
trtllm_prompt_cached_tokens_total{engine_type="undefined",model_name="undefined"} 16.0
trtllm_request_success_total{engine_type="undefined",finished_reason="stop",model_name="undefined"} 10.0
trtllm_request_error_total{engine_type="undefined",http_code="400",model_name="undefined"} 3.0
trtllm_request_error_total{engine_type="undefined",http_code="500",model_name="undefined"} 2.0
"""

NIM = """\
num_requests_running{model_name="meta/llama"} 2.0
num_requests_waiting{model_name="meta/llama"} 0.0
num_request_max{model_name="meta/llama"} 256.0
gpu_cache_usage_perc{model_name="meta/llama"} 0.1
prompt_tokens_total{model_name="meta/llama"} 11.0
generation_tokens_total{model_name="meta/llama"} 22.0
request_finish_total{finished_reason="stop",model_name="meta/llama"} 3.0
request_finish_total{finished_reason="error",model_name="meta/llama"} 1.0
"""

TRITON_TRTLLM = """\
nv_inference_request_success{model="ensemble",version="1"} 9
nv_inference_request_success{model="tensorrt_llm",version="1"} 8
nv_inference_request_failure{model="ensemble",reason="REJECTED",version="1"} 1
nv_inference_request_failure{model="ensemble",reason="CANCELED",version="1"} 0
nv_inference_pending_request_count{model="ensemble",version="1"} 7
nv_inference_first_response_histogram_ms_bucket{le="100",model="ensemble",version="1"} 4
nv_inference_first_response_histogram_ms_bucket{le="500",model="ensemble",version="1"} 8
nv_inference_first_response_histogram_ms_bucket{le="+Inf",model="ensemble",version="1"} 9
nv_inference_first_response_histogram_ms_sum{model="ensemble",version="1"} 2250
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 2
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 5
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.5
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 800
"""

RAY_SERVE = """\
ray_serve_num_ongoing_http_requests{NodeId="a",route="/chat"} 2.0
ray_serve_deployment_queued_queries{application="llm",deployment="Chat"} 1.0
ray_serve_num_http_requests_total{application="llm",method="POST",route="/chat",status_code="200"} 30.0
ray_serve_num_http_requests_total{application="llm",method="POST",route="/chat",status_code="422"} 4.0
ray_serve_num_http_requests_total{application="llm",method="POST",route="/chat",status_code="503"} 2.0
ray_serve_http_request_latency_ms_bucket{application="llm",le="50.0",method="POST",route="/chat",status_code="200"} 10.0
ray_serve_http_request_latency_ms_bucket{application="llm",le="+Inf",method="POST",route="/chat",status_code="200"} 30.0
ray_serve_http_request_latency_ms_sum{application="llm",method="POST",route="/chat",status_code="200"} 3000.0
"""

RAY_SERVE_LLM = """\
ray_vllm_num_requests_running{ReplicaId="one",model_name="qwen"} 2.0
ray_vllm_num_requests_running{ReplicaId="two",model_name="qwen"} 3.0
ray_vllm_kv_cache_usage_perc{ReplicaId="one",model_name="qwen"} 0.5
ray_vllm_generation_tokens_total{ReplicaId="one",model_name="qwen"} 10.0
ray_vllm_request_success_total{ReplicaId="one",finished_reason="stop",model_name="qwen"} 6.0
ray_serve_num_http_requests_total{method="POST",route="/v1/chat/completions",status_code="500"} 7.0
"""

STARLETTE = """\
starlette_requests_in_progress{app_name="starlette",method="POST"} 1.0
starlette_requests_total{app_name="starlette",method="POST",path="/predict",status_code="200"} 12.0
starlette_requests_total{app_name="starlette",method="POST",path="/predict",status_code="201"} 1.0
starlette_requests_total{app_name="starlette",method="POST",path="/predict",status_code="404"} 2.0
starlette_requests_total{app_name="starlette",method="POST",path="/predict",status_code="500"} 3.0
"""

FLASK = """\
flask_exporter_info{version="0.23.2"} 1.0
flask_http_request_duration_seconds_bucket{le="0.5",method="POST",path="/parse",status="200"} 5.0
flask_http_request_duration_seconds_bucket{le="+Inf",method="POST",path="/parse",status="200"} 6.0
flask_http_request_duration_seconds_count{method="POST",path="/parse",status="200"} 6.0
flask_http_request_duration_seconds_sum{method="POST",path="/parse",status="200"} 1.5
flask_http_request_duration_seconds_count{method="POST",path="/parse",status="500"} 1.0
flask_http_request_total{method="POST",status="200"} 6.0
flask_http_request_total{method="POST",status="500"} 1.0
flask_http_request_exceptions_total{method="POST",status="500"} 1.0
"""

KSERVE = """\
request_predict_seconds_count{model_name="iris"} 5.0
request_predict_seconds_sum{model_name="iris"} 0.5
"""

TORCHSERVE = """\
ts_inference_requests_total{hostname="h",model_name="bert",model_version="1.0"} 9.0
ts_inference_latency_microseconds{hostname="h",model_name="bert",model_version="1.0"} 1990.5
Requests5XX{Hostname="h",Level="Host"} 1.0
"""

GUIDE = """\
model_requests_total 17.0
model_request_duration_seconds_bucket{le="1.0"} 11.0
model_request_duration_seconds_bucket{le="+Inf"} 17.0
model_request_duration_seconds_count 17.0
model_request_duration_seconds_sum 21.0
model_tokens_per_second 12.5
"""
