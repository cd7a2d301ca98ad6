"""Engines that could not be run here, recognised by what is written about their answers."""

import json
from collections.abc import Mapping

import pytest

from exporter.engines import ENGINES
from exporter.wire import Recognition
from tests.engines.looking import asked, seen
from tests.services.scripted import Answer, Stage, reply

JSON = "Content-Type: application/json"
UNKNOWN = reply('{"detail":"Not Found"}', 404, "Server: uvicorn")
UNAUTHORIZED = reply('{"error":"Unauthorized"}', 401, JSON)


def document(value: object, status: int = 200) -> Answer:
    """A JSON document."""
    return reply(json.dumps(value), status, JSON)


def owned(owner: str, **more: object) -> Answer:
    """A list of one model."""
    return document({"object": "list", "data": [{"id": "tiny", "created": 1, "owned_by": owner, **more}]})


def routes(*paths: str) -> Answer:
    """What FastAPI says of an application's routes."""
    described = {path: {"post": {"responses": {"200": {"description": "Successful Response"}}}} for path in paths}
    return reply(json.dumps({"openapi": "3.1.0", "paths": described}, separators=(",", ":")), 200, JSON)


VERSION = document({"version": "1.2.3"})
CHAT = routes("/v1/chat/completions", "/v1/completions")
TGI = document({"model_id": "tiny", "version": "1.2.3", "router": "text-generation-router"})
RESIDENT = {"name": "tiny:latest", "model": "tiny:latest", "details": {"family": "llama"}}
OPTIONS = document({"sd_model_checkpoint": "tiny", "samples_save": True})
TORCH = document({"code": 404, "type": "ResourceNotFoundException", "message": "Requested resource is not found"}, 404)
GRADIO = reply("<html><script>window.gradio_config = {}</script></html>")


def tei(**kind: object) -> Answer:
    """What a TEI says of itself."""
    limits = {"max_batch_tokens": 16384, "auto_truncate": True, "tokenization_workers": 2}
    return document({"model_id": "tiny", "version": "1.2.3", "model_type": kind, **limits})


def infinity(*capabilities: str) -> Answer:
    """What an infinity lists."""
    return owned("infinity", stats={"queue_fraction": 0}, capabilities=list(capabilities))


CASES: Mapping[str, tuple[Mapping[str, Answer], Recognition, str]] = {
    "vllm": (
        {"/v1/models": owned("vllm"), "/version": VERSION, "/openapi.json": CHAT},
        Recognition(
            engine="vllm",
            version="1.2.3",
            model="tiny",
            protocol="openai-chat",
            evidence='owned_by "vllm" in its answer to GET /v1/models',
        ),
        "/ /v1/models /v1/metadata /openapi.json /version",
    ),
    "vllm that embeds": (
        {"/v1/models": owned("vllm"), "/version": VERSION, "/openapi.json": routes("/v1/embeddings", "/pooling")},
        Recognition(
            engine="vllm",
            version="1.2.3",
            model="tiny",
            protocol="openai-embeddings",
            evidence='owned_by "vllm" in its answer to GET /v1/models',
        ),
        "/ /v1/models /v1/metadata /openapi.json /version",
    ),
    "vllm that reranks": (
        {"/v1/models": owned("vllm"), "/version": VERSION, "/openapi.json": routes("/score", "/v1/rerank")},
        Recognition(
            engine="vllm",
            version="1.2.3",
            model="tiny",
            protocol="rerank",
            evidence='owned_by "vllm" in its answer to GET /v1/models',
        ),
        "/ /v1/models /v1/metadata /openapi.json /version",
    ),
    "vllm that classifies": (
        {"/v1/models": owned("vllm"), "/version": VERSION, "/openapi.json": routes("/classify")},
        Recognition(
            engine="vllm", version="1.2.3", model="tiny", evidence='owned_by "vllm" in its answer to GET /v1/models'
        ),
        "/ /v1/models /v1/metadata /openapi.json /version",
    ),
    "vllm without a description": (
        {"/v1/models": owned("vllm"), "/version": VERSION, "/health": reply()},
        Recognition(
            engine="vllm",
            model="tiny",
            protocol="openai-chat",
            evidence='owned_by "vllm" in its answer to GET /v1/models',
        ),
        "/ /v1/models /v1/metadata /openapi.json /health",
    ),
    "vllm that wants a key": (
        {"/": UNKNOWN, "/v1/models": UNAUTHORIZED, "/version": VERSION, "/openapi.json": CHAT},
        Recognition(
            engine="vllm",
            version="1.2.3",
            protocol="openai-chat",
            evidence="a version and nothing else in its answer to GET /version",
            certain=False,
        ),
        "/ /v1/models /version /openapi.json",
    ),
    "vllm-omni": (
        {
            "/v1/models": owned("vllm"),
            "/version": VERSION,
            "/openapi.json": routes("/v1/chat/completions", "/v1/audio/speech", "/v1/videos"),
        },
        Recognition(
            engine="vllm-omni",
            version="1.2.3",
            model="tiny",
            evidence="the routes of vLLM-Omni in its answer to GET /openapi.json",
        ),
        "/ /v1/models /v1/metadata /openapi.json /version",
    ),
    "vllm-omni without a description": (
        {"/v1/models": owned("vllm"), "/version": VERSION, "/health": document({"status": "healthy"})},
        Recognition(engine="vllm-omni", model="tiny", evidence="a status in JSON in its answer to GET /health"),
        "/ /v1/models /v1/metadata /openapi.json /health",
    ),
    "nim of its own": (
        {
            "/v1/models": owned("system"),
            "/v1/metadata": document({"version": "1.2.3", "modelInfo": [], "licenseInfo": {}}),
        },
        Recognition(
            engine="nim",
            version="1.2.3",
            model="tiny",
            protocol="openai-chat",
            evidence="the metadata of a NIM in its answer to GET /v1/metadata",
        ),
        "/ /v1/models /v1/metadata /openapi.json",
    ),
    "nim around vllm": (
        {
            "/v1/models": owned("vllm"),
            "/v1/metadata": document({"version": "1.2.3", "modelInfo": []}),
            "/openapi.json": routes("/v1/embeddings"),
        },
        Recognition(
            engine="nim",
            version="1.2.3",
            model="tiny",
            protocol="openai-embeddings",
            evidence="the metadata of a NIM in its answer to GET /v1/metadata",
        ),
        "/ /v1/models /v1/metadata /openapi.json",
    ),
    "sglang": (
        {
            "/": reply('"SGLang is running"'),
            "/v1/models": owned("sglang"),
            "/model_info": document({"is_generation": True}),
        },
        Recognition(
            engine="sglang", model="tiny", protocol="openai-chat", evidence='"SGLang is running" in its answer to GET /'
        ),
        "/ /v1/models /v1/metadata /model_info",
    ),
    "sglang that embeds": (
        {
            "/": reply('"SGLang is running"'),
            "/v1/models": owned("sglang"),
            "/model_info": document({"is_generation": False}),
        },
        Recognition(
            engine="sglang",
            model="tiny",
            protocol="openai-embeddings",
            evidence='"SGLang is running" in its answer to GET /',
        ),
        "/ /v1/models /v1/metadata /model_info",
    ),
    "sglang in the guise of ollama": (
        {"/": reply('"Ollama is running"'), "/v1/models": owned("sglang")},
        Recognition(
            engine="sglang",
            model="tiny",
            protocol="openai-chat",
            evidence='owned_by "sglang" in its answer to GET /v1/models',
        ),
        "/ /v1/models /v1/metadata /model_info",
    ),
    "sglang that wants a key": (
        {"/": UNAUTHORIZED, "/v1/models": UNAUTHORIZED, "/metrics": reply("# HELP x y\nsglang:num_running_reqs 0\n")},
        Recognition(
            engine="sglang",
            protocol="openai-chat",
            evidence="metrics named sglang: in its answer to GET /metrics",
            certain=False,
        ),
        "/ /v1/models /metrics /model_info",
    ),
    "sglang-diffusion": (
        {"/": UNKNOWN, "/v1/models": owned("sglang", task_type="T2I"), "/liveness": document({"status": "ok"})},
        Recognition(
            engine="sglang-diffusion",
            model="tiny",
            protocol="openai-images",
            evidence='status "ok" in its answer to GET /liveness',
        ),
        "/ /v1/models /v1/metadata /liveness",
    ),
    "sglang-diffusion that makes videos": (
        {"/": UNKNOWN, "/v1/models": owned("sglang", task_type="T2V"), "/liveness": document({"status": "ok"})},
        Recognition(engine="sglang-diffusion", model="tiny", evidence='status "ok" in its answer to GET /liveness'),
        "/ /v1/models /v1/metadata /liveness",
    ),
    "tgi": (
        {"/": reply(), "/info": TGI},
        Recognition(
            engine="tgi",
            version="1.2.3",
            model="tiny",
            protocol="tgi",
            evidence='router "text-generation-router" in its answer to GET /info',
        ),
        "/ /info",
    ),
    "tgi that is unhealthy": (
        {"/": document({"error": "unhealthy", "error_type": "healthcheck"}, 503), "/info": TGI},
        Recognition(
            engine="tgi",
            version="1.2.3",
            model="tiny",
            protocol="tgi",
            evidence='router "text-generation-router" in its answer to GET /info',
            certain=False,
        ),
        "/ /info",
    ),
    "tgi behind another front page": (
        {
            "/": reply("<html>"),
            "/v1/models": document({"data": [{"id": "tiny", "created": 0, "owned_by": "tiny"}]}),
            "/info": TGI,
        },
        Recognition(
            engine="tgi",
            version="1.2.3",
            model="tiny",
            protocol="tgi",
            evidence='router "text-generation-router" in its answer to GET /info',
        ),
        "/ /v1/models /info",
    ),
    "tei": (
        {"/": reply(), "/info": tei(embedding={"pooling": "cls"})},
        Recognition(
            engine="tei",
            version="1.2.3",
            model="tiny",
            protocol="tei",
            evidence="the type of its model and max_batch_tokens in its answer to GET /info",
        ),
        "/ /info",
    ),
    "tei that reranks": (
        {"/": reply(), "/info": tei(reranker={"id2label": {}})},
        Recognition(
            engine="tei",
            version="1.2.3",
            model="tiny",
            evidence="the type of its model and max_batch_tokens in its answer to GET /info",
        ),
        "/ /info",
    ),
    "tei that wants a key": (
        {"/": reply(), "/info": reply("", 401)},
        Recognition(
            engine="tei",
            protocol="tei",
            evidence="a wordless demand for a key in its answer to GET /info",
            certain=False,
        ),
        "/ /info",
    ),
    "transformers": (
        {
            "/": reply('{"detail":"Not Found"}', 404, "X-Request-Id: 1"),
            "/openapi.json": routes("/v1/chat/completions", "/load_model", "/reset"),
        },
        Recognition(
            engine="transformers", evidence="the routes of transformers serve in its answer to GET /openapi.json"
        ),
        "/ /openapi.json",
    ),
    "llama-cpp-python": (
        {"/v1/models": owned("me")},
        Recognition(engine="llama-cpp-python", model="tiny", evidence='owned_by "me" in its answer to GET /v1/models'),
        "/ /v1/models",
    ),
    "ollama": (
        {"/": reply("Ollama is running"), "/api/version": VERSION, "/api/ps": document({"models": [RESIDENT]})},
        Recognition(
            engine="ollama",
            version="1.2.3",
            model="tiny:latest",
            protocol="ollama",
            evidence='"Ollama is running" in its answer to GET /',
        ),
        "/ /api/version /api/ps",
    ),
    "ollama that embeds": (
        {
            "/": reply("Ollama is running"),
            "/api/ps": document({"models": [{**RESIDENT, "details": {"family": "nomic-bert"}}]}),
        },
        Recognition(
            engine="ollama",
            model="tiny:latest",
            protocol="ollama-embed",
            evidence='"Ollama is running" in its answer to GET /',
        ),
        "/ /api/version /api/ps",
    ),
    "ollama that holds no model": (
        {"/": reply("Ollama is running"), "/api/ps": document({"models": []})},
        Recognition(
            engine="ollama", protocol="ollama", evidence='"Ollama is running" in its answer to GET /', certain=False
        ),
        "/ /api/version /api/ps",
    ),
    "triton-openai": (
        {"/v1/models": owned("Triton Inference Server")},
        Recognition(
            engine="triton-openai",
            model="tiny",
            protocol="openai-chat",
            evidence='owned_by "Triton Inference Server" in its answer to GET /v1/models',
        ),
        "/ /v1/models",
    ),
    "trtllm": (
        {"/v1/models": owned("tensorrt_llm"), "/version": VERSION},
        Recognition(
            engine="trtllm",
            version="1.2.3",
            model="tiny",
            protocol="openai-chat",
            evidence='owned_by "tensorrt_llm" in its answer to GET /v1/models',
        ),
        "/ /v1/models /version",
    ),
    "lmdeploy": (
        {"/v1/models": owned("lmdeploy")},
        Recognition(
            engine="lmdeploy",
            model="tiny",
            protocol="openai-chat",
            evidence='owned_by "lmdeploy" in its answer to GET /v1/models',
        ),
        "/ /v1/models",
    ),
    "a1111": (
        {"/": GRADIO, "/sdapi/v1/options": OPTIONS},
        Recognition(engine="a1111", evidence="the options of Stable Diffusion in its answer to GET /sdapi/v1/options"),
        "/ /sdapi/v1/options",
    ),
    "comfyui": (
        {"/": reply("<title>ComfyUI</title>"), "/system_stats": document({"system": {"comfyui_version": "1.2.3"}})},
        Recognition(
            engine="comfyui", version="1.2.3", evidence="the version of ComfyUI in its answer to GET /system_stats"
        ),
        "/ /system_stats",
    ),
    "infinity": (
        {"/": reply("", 307, "Location: /docs"), "/models": infinity("embed")},
        Recognition(
            engine="infinity",
            model="tiny",
            protocol="openai-embeddings",
            evidence='owned_by "infinity" in its answer to GET /models',
        ),
        "/ /models",
    ),
    "infinity that reranks": (
        {"/": reply("", 307, "Location: /docs"), "/models": infinity("rerank")},
        Recognition(
            engine="infinity",
            model="tiny",
            protocol="rerank",
            evidence='owned_by "infinity" in its answer to GET /models',
        ),
        "/ /models",
    ),
    "infinity that classifies": (
        {"/": reply("", 307, "Location: /docs"), "/models": infinity("classify")},
        Recognition(engine="infinity", model="tiny", evidence='owned_by "infinity" in its answer to GET /models'),
        "/ /models",
    ),
    "torchserve": (
        {"/": TORCH, "/v1/models": TORCH, "/ping": document({"status": "Healthy"})},
        Recognition(engine="torchserve", evidence='status "Healthy" in its answer to GET /ping'),
        "/ /v1/models /v2 /openapi.json /ping",
    ),
    "a list behind ray serve": (
        {"/v1/models": owned("someone"), "/-/healthz": reply("success")},
        Recognition(
            engine="ray-serve",
            model="tiny",
            protocol="openai-chat",
            evidence='"success" in its answer to GET /-/healthz',
        ),
        "/ /v1/models /-/healthz",
    ),
    "unknown that embeds": (
        {"/v1/models": owned("someone"), "/openapi.json": routes("/v1/embeddings")},
        Recognition(
            engine="unknown",
            model="tiny",
            protocol="openai-embeddings",
            evidence="a list of models in its answer to GET /v1/models",
        ),
        "/ /v1/models /-/healthz /openapi.json",
    ),
    "flask by itself": (
        {"/v1/models": reply("no", 404, "Server: Werkzeug/3.1.3 Python/3.11")},
        Recognition(engine="flask", evidence="the header Server: Werkzeug in its answer to GET /v1/models"),
        "/ /v1/models",
    ),
    "fastapi without a description": (
        {"/": UNKNOWN, "/v1/models": UNKNOWN},
        Recognition(engine="fastapi", evidence="a refusal as FastAPI words it in its answer to GET /v1/models"),
        "/ /v1/models /v2 /-/healthz /openapi.json",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_engine_is_recognised_by_what_is_written_about_it(name: str, stage: Stage) -> None:
    answers, expected, paths = CASES[name]
    service = stage.serve({f"GET {path}": answer for path, answer in answers.items()})

    found = seen(service.url)

    assert found == expected
    assert asked(service) == paths.split()


def test_every_engine_that_was_not_tried_has_its_case() -> None:
    written = {found.engine for _, found, _ in CASES.values()}

    assert {name for name, engine in ENGINES.items() if not engine.tried} <= written


def test_a_transformers_server_is_never_asked_for_its_models(stage: Stage) -> None:
    answers, _, _ = CASES["transformers"]
    service = stage.serve({f"GET {path}": answer for path, answer in answers.items()})

    found = seen(service.url, model="tiny")

    assert found is not None
    assert (found.protocol, found.model) == ("openai-chat", "tiny")
    assert "/v1/models" not in asked(service)
