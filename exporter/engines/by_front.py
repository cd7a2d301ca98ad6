"""Engines that are told by their front page, or by the one page that it gives reason to ask for.

None of them is asked for its models before it is known: transformers would scan its whole cache on disk.
"""

from collections.abc import Mapping

from exporter.engines.residents import resident_in_ollama
from exporter.engines.row import NO_THINKING, Condition, Engine, Look, Sign
from exporter.engines.signs import (
    FRONT,
    MODELS,
    OPENAPI,
    both,
    either,
    front,
    good,
    health_check,
    keyless,
    mentions,
    names,
    not_found,
    owned_by,
    owned_by_themselves,
    says,
    sent_to_docs,
    served_by,
    tells,
)
from exporter.engines.states import (
    asleep_by_props,
    ordinary,
    unloaded_by_router,
    with_status,
    with_words,
)
from exporter.engines.told import (
    OF_OPENAI,
    by_capabilities,
    by_endpoints,
    by_family,
    by_model_type,
    by_routes,
    chat_endpoint,
    first_loaded,
    first_resident,
    model_at,
    version_at,
    version_in,
)

TOLD_BY_FRONT: Mapping[str, Engine] = {
    "llama-server": Engine(
        signs=(
            Sign(path=FRONT, words="the header Server: llama.cpp", holds=served_by(r"llama\.cpp")),
            Sign(path=MODELS, words='owned_by "llamacpp"', holds=owned_by("llamacpp")),
        ),
        tried=True,
        details=(MODELS, "/props"),
        version=version_at("/props", "build_info"),
        model=first_loaded,
        protocols=("openai-chat",),
        condition=ordinary,
        looks=(Look(path="/props", sight=asleep_by_props), Look(path=MODELS, sight=unloaded_by_router)),
        unthinking=NO_THINKING,
    ),
    "ollama": Engine(
        signs=(
            # Without quotes: SGLang can be made to say the same as a JSON string.
            Sign(path=FRONT, words='"Ollama is running"', holds=says(b"Ollama is running")),
            Sign(path=MODELS, words='owned_by "library"', holds=owned_by("library")),
        ),
        details=("/api/version", "/api/ps"),
        version=version_at("/api/version", "version"),
        model=first_resident,
        protocols=("ollama", "ollama-embed"),
        speaks=by_family,
        condition=ordinary,
        health=(FRONT,),
        looks=(Look(path="/api/ps", sight=resident_in_ollama),),
        unthinking={"think": False},
    ),
    "litserve": Engine(
        signs=(
            Sign(path=FRONT, words='"litserve running"', holds=says(b"litserve running")),
            Sign(
                path="/info", words="its workers by device", holds=names("server.devices", "server.workers_per_device")
            ),
            Sign(
                path=OPENAPI,
                words="the routes of LitServe",
                holds=mentions(b'"operationId":"index__get"', b'"operationId":"info_info_get"'),
                asked=front(lambda reply: reply.headers.get("www-authenticate") == "APIKey"),
            ),
        ),
        tried=True,
        details=(OPENAPI,),
        protocols=OF_OPENAI,
        speaks=by_routes(otherwise=""),
        condition=with_words(503, b"not ready", Condition.LOADING),
    ),
    "kserve": Engine(
        signs=(
            Sign(
                path="/v2/health/live",
                words="live: true",
                holds=tells(live=True),
                asked=front(tells(status="alive")),
            ),
        ),
        tried=True,
        protocols=("kserve",),
        named=True,
        condition=with_words(503, b"not ready", Condition.LOADING),
        health=("/v2/health/ready",),
    ),
    "comfyui": Engine(
        signs=(
            Sign(
                path="/system_stats",
                words="the version of ComfyUI",
                holds=names("system.comfyui_version"),
                asked=front(mentions(b"comfyui")),
            ),
        ),
        details=("/system_stats",),
        version=version_at("/system_stats", "system.comfyui_version"),
        condition=ordinary,
        health=("/system_stats",),
    ),
    # A Gradio app too, but not one to be asked like any other.
    "a1111": Engine(
        signs=(
            Sign(
                path="/sdapi/v1/options",
                words="the options of Stable Diffusion",
                holds=names("sd_model_checkpoint"),
                asked=front(mentions(b"gradio")),
            ),
        ),
        condition=ordinary,
        health=("/internal/ping",),
    ),
    "gradio": Engine(
        signs=(
            Sign(
                path="/config",
                words="the configuration of Gradio",
                holds=either(
                    both(good, mentions(rb'"version":', rb'"(app_id|api_prefix|is_space)":')),
                    mentions(b"Not authenticated"),
                ),
                asked=front(mentions(b"gradio")),
            ),
        ),
        tried=True,
        details=("/config",),
        version=version_in("/config", rb'"version":\s*"([0-9][0-9A-Za-z.+-]{0,31})"'),
        protocols=("gradio",),
        speaks=by_endpoints,
        place=chat_endpoint,
        condition=ordinary,
        # The cheapest that answers without a login; before version 5 there was no prefix.
        health=("/gradio_api/app_id", "/app_id"),
    ),
    "transformers": Engine(
        signs=(
            Sign(
                path=OPENAPI,
                words="the routes of transformers serve",
                holds=mentions(b'"/load_model"', b'"/reset"'),
                asked=front(lambda reply: not_found(reply) and "x-request-id" in reply.headers),
            ),
        ),
        # The first request for a model loads it, so the operator says which; nothing tells whether it is loaded.
        protocols=("openai-chat",),
        named=True,
        condition=with_status(unhealthy=Condition.UNHEALTHY),
    ),
    "bentoml": Engine(
        signs=(
            Sign(
                path="/schema.json",
                words="the routes of a BentoML service",
                holds=both(tells(type="service"), names("routes")),
                asked=front(either(mentions(b"bentoml"), served_by("BentoML"))),
            ),
        ),
        tried=True,
        condition=ordinary,
        health=("/readyz",),
    ),
    "tgi": Engine(
        signs=(
            Sign(
                path="/info",
                words='router "text-generation-router"',
                holds=tells(router="text-generation-router"),
                asked=front(health_check),
            ),
            Sign(path=MODELS, words="models that are their own owners, of 1970", holds=owned_by_themselves),
        ),
        details=("/info",),
        version=version_at("/info", "version"),
        model=model_at("/info", "model_id"),
        # Needs no chat template, which a base model has not.
        protocols=("tgi", "openai-chat", "openai-completions"),
        condition=ordinary,
    ),
    "tei": Engine(
        signs=(
            Sign(
                path="/info",
                words="the type of its model and max_batch_tokens",
                holds=names("model_type", "max_batch_tokens"),
                asked=front(health_check),
            ),
            Sign(path="/info", words="a wordless demand for a key", holds=keyless),
        ),
        details=("/info",),
        version=version_at("/info", "version"),
        model=model_at("/info", "model_id"),
        protocols=("tei",),
        speaks=by_model_type,
        condition=ordinary,
    ),
    "infinity": Engine(
        signs=(
            Sign(path="/models", words='owned_by "infinity"', holds=owned_by("infinity"), asked=front(sent_to_docs)),
            Sign(path=MODELS, words='owned_by "infinity"', holds=owned_by("infinity")),
        ),
        details=("/models",),
        model=model_at("/models", "data.0.id"),
        protocols=("openai-embeddings", "rerank"),
        speaks=by_capabilities,
        places={"openai-embeddings": "/embeddings", "rerank": "/rerank"},
        condition=ordinary,
    ),
}
