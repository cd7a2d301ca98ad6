"""Engines that are told by who they say owns their models."""

from collections.abc import Mapping

from exporter.engines.row import NO_THINKING, Condition, Engine, Look, Sign, always
from exporter.engines.signs import (
    FRONT,
    MODELS,
    OPENAPI,
    front,
    good,
    mentions,
    models,
    names,
    not_found,
    only_a_version,
    owned_by,
    says,
    tells,
    unauthorized,
)
from exporter.engines.states import asleep_by_health, asleep_by_metrics, ordinary, with_status, with_words
from exporter.engines.told import OF_OPENAI, by_model_info, by_routes, by_task, first_listed, version_at


def owner(name: str) -> Sign:
    """The sign of an engine that calls itself so in its list of models."""
    return Sign(path=MODELS, words=f'owned_by "{name}"', holds=owned_by(name), asked=always)


TOLD_BY_MODELS: Mapping[str, Engine] = {
    # Before the engines that it is made of.
    "nim": Engine(
        signs=(
            Sign(
                path="/v1/metadata",
                words="the metadata of a NIM",
                holds=names("modelInfo"),
                asked=models(owned_by("system", "vllm", "sglang")),
            ),
        ),
        details=("/v1/metadata", MODELS, OPENAPI),
        version=version_at("/v1/metadata", "version"),
        model=first_listed,
        protocols=OF_OPENAI,
        speaks=by_routes(otherwise="openai-chat"),
        # Its nginx answers as soon as the container runs.
        condition=with_words(503, b"", Condition.LOADING),
        health=("/v1/health/ready",),
    ),
    "sglang-diffusion": Engine(
        signs=(
            Sign(
                path="/liveness",
                words='status "ok"',
                holds=tells(status="ok"),
                asked=lambda seen: models(owned_by("sglang"))(seen) and front(not_found)(seen),
            ),
        ),
        details=(MODELS,),
        model=first_listed,
        protocols=("openai-images",),
        speaks=by_task,
        condition=with_words(503, rb"^\s*$", Condition.LOADING),
    ),
    "sglang": Engine(
        signs=(
            Sign(path=FRONT, words='"SGLang is running"', holds=says(b'"SGLang is running"')),
            owner("sglang"),
            Sign(
                path="/metrics",
                words="metrics named sglang:",
                holds=mentions(rb"(?m)^sglang:"),
                asked=front(unauthorized),
            ),
        ),
        details=(MODELS, "/model_info"),
        model=first_listed,
        protocols=("openai-chat", "openai-embeddings"),
        speaks=by_model_info,
        condition=ordinary,
        # Its /health generates a token, and takes a second at least and 20 when it hangs.
        health=("/ready", "/health"),
        health_timeout=25.0,
        unthinking=NO_THINKING,
    ),
    "trtllm": Engine(
        signs=(owner("tensorrt_llm"),),
        details=(MODELS, "/version"),
        version=version_at("/version", "version"),
        model=first_listed,
        protocols=("openai-chat", "openai-completions"),
        condition=ordinary,
    ),
    "lmdeploy": Engine(
        signs=(owner("lmdeploy"),),
        details=(MODELS,),
        model=first_listed,
        protocols=("openai-chat", "openai-completions"),
        condition=with_status(sleeping=Condition.SLEEPING, unhealthy=Condition.UNHEALTHY),
        looks=(Look(path="/health", sight=asleep_by_health),),
        unthinking=NO_THINKING,
    ),
    "triton-openai": Engine(
        signs=(owner("Triton Inference Server"),),
        details=(MODELS,),
        model=first_listed,
        protocols=("openai-chat", "openai-completions"),
        condition=with_words(400, b"", Condition.UNHEALTHY),
        health=("/health/ready",),
    ),
    # Not asked: a new request cuts short the answer that a user is reading.
    "llama-cpp-python": Engine(
        signs=(owner("me"),),
        details=(MODELS,),
        model=first_listed,
        condition=ordinary,
        health=(MODELS,),
    ),
    # Speech, images or chat: nothing tells which, so the operator says how to ask.
    "vllm-omni": Engine(
        signs=(
            Sign(
                path=OPENAPI,
                words="the routes of vLLM-Omni",
                holds=mentions(b'"/v1/videos"|"/v1/audio/speech"'),
                asked=models(owned_by("vllm")),
            ),
            Sign(
                path="/health",
                words="a status in JSON",
                holds=lambda reply: reply.value("status") in ("healthy", "unhealthy"),
                asked=lambda seen: models(owned_by("vllm"))(seen) and OPENAPI in seen and not good(seen[OPENAPI]),
            ),
        ),
        details=(MODELS, "/version"),
        version=version_at("/version", "version"),
        model=first_listed,
        condition=with_status(unhealthy=Condition.UNHEALTHY),
    ),
    "vllm": Engine(
        signs=(
            owner("vllm"),
            Sign(
                path="/version",
                words="a version and nothing else",
                holds=only_a_version,
                asked=models(unauthorized),
            ),
        ),
        details=(MODELS, OPENAPI, "/version"),
        version=version_at("/version", "version"),
        model=first_listed,
        protocols=("openai-chat", "openai-completions", "openai-embeddings", "rerank"),
        speaks=by_routes(otherwise="openai-chat"),
        condition=ordinary,
        looks=(Look(path="/metrics", sight=asleep_by_metrics),),
        unthinking=NO_THINKING,
    ),
}
