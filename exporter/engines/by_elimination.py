"""Engines that are told where neither the front page nor the list of models is an engine's own."""

from collections.abc import Mapping

from exporter.engines.row import Condition, Engine, Sign, always
from exporter.engines.signs import (
    FRONT,
    MODELS,
    OPENAPI,
    both,
    lists_models,
    mentions,
    nameless,
    not_found,
    says,
    served_by,
    tells,
    unlisted,
)
from exporter.engines.states import ordinary, with_words
from exporter.engines.told import OF_OPENAI, by_routes, first_listed, version_at

TOLD_BY_ELIMINATION: Mapping[str, Engine] = {
    "flask": Engine(
        signs=(
            Sign(
                path=MODELS,
                words="a refusal as Flask words it",
                holds=mentions(b"If you entered the URL manually please check your spelling"),
            ),
            Sign(
                path=MODELS,
                words="the header Server: Werkzeug",
                holds=lambda reply: served_by("Werkzeug/")(reply) and not lists_models(reply),
            ),
        ),
        tried=True,
        condition=ordinary,
    ),
    "triton": Engine(
        signs=(Sign(path="/v2", words='name "triton"', holds=tells(name="triton"), asked=unlisted),),
        tried=True,
        details=("/v2",),
        version=version_at("/v2", "version"),
        protocols=("kserve", "triton-generate"),
        named=True,
        condition=with_words(400, b"", Condition.UNHEALTHY),
        health=("/v2/health/ready",),
    ),
    "mlserver": Engine(
        signs=(Sign(path="/v2", words='name "mlserver"', holds=tells(name="mlserver"), asked=unlisted),),
        tried=True,
        details=("/v2",),
        version=version_at("/v2", "version"),
        protocols=("kserve",),
        named=True,
        condition=with_words(400, b"", Condition.LOADING),
        health=("/v2/health/ready",),
    ),
    "ray-serve": Engine(
        signs=(
            Sign(path=FRONT, words="a reference to /-/routes", holds=mentions(b"/-/routes")),
            Sign(path="/-/healthz", words='"success"', holds=says(b"success"), asked=nameless),
        ),
        tried=True,
        details=(MODELS,),
        model=first_listed,
        protocols=("openai-chat",),
        speaks=lambda seen: "openai-chat" if first_listed(seen) else "",
        condition=with_words(503, b"not populated yet|available yet", Condition.LOADING),
        health=("/-/healthz",),
    ),
    # Before FastAPI: whoever lists models is asked as any such service, whatever it is built with.
    "unknown": Engine(
        signs=(Sign(path=MODELS, words="a list of models", holds=lists_models, asked=always),),
        details=(MODELS, OPENAPI),
        model=first_listed,
        protocols=OF_OPENAI,
        speaks=by_routes(otherwise="openai-chat"),
        condition=ordinary,
    ),
    "fastapi": Engine(
        signs=(
            Sign(
                path=OPENAPI,
                words="a description as FastAPI writes it",
                holds=mentions(b'"openapi":', b'"Successful Response"'),
                asked=unlisted,
            ),
            Sign(path=MODELS, words="a refusal as FastAPI words it", holds=both(not_found, served_by("uvicorn"))),
        ),
        tried=True,
        details=(OPENAPI,),
        protocols=OF_OPENAI,
        speaks=by_routes(otherwise=""),
        condition=ordinary,
        health=("/health", OPENAPI),
    ),
    "torchserve": Engine(
        signs=(
            Sign(
                path="/ping",
                words='status "Healthy"',
                holds=mentions(rb'^\s*\{\s*"status":\s*"[A-Za-z ]*ealthy"\s*\}'),
                asked=unlisted,
            ),
        ),
        condition=ordinary,
        health=("/ping",),
    ),
}
