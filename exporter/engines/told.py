"""What an engine's answers tell about it: its version, the model to ask, and the protocol it speaks."""

import re
from collections.abc import Callable, Mapping

from exporter.engines.row import Reply, Seen, at
from exporter.engines.signs import MODELS, OPENAPI, good, listed, lists_models, name_of
from exporter.exchange import objects
from exporter.paths import Json

Told = Callable[[Seen], str]

LONGEST_VERSION = 64
# The most telling first: an engine that chats may embed as well.
ROUTES: Mapping[str, bytes] = {
    "openai-chat": b'"/v1/chat/completions"',
    "openai-completions": b'"/v1/completions"',
    "openai-embeddings": b'"/v1/embeddings"',
    "rerank": b'"/v1/rerank"',
    "openai-images": b'"/v1/images/generations"',
}

OF_OPENAI = tuple(ROUTES)
ABLE: Mapping[str, str] = {"embed": "openai-embeddings", "rerank": "rerank"}


def version_at(path: str, place: str) -> Told:
    """The version that stands at a place of an answer."""

    def version(seen: Seen) -> str:
        told = name_of(at(seen, path).value(place))
        return told if len(told) <= LONGEST_VERSION else ""

    return version


def version_in(path: str, pattern: bytes) -> Told:
    """The version that a pattern finds in an answer, however long that is."""
    compiled = re.compile(pattern)

    def version(seen: Seen) -> str:
        found = compiled.search(at(seen, path).body)
        return found[1].decode("ascii", "replace") if found else ""

    return version


def model_at(path: str, place: str) -> Told:
    """The model whose name stands at a place of an answer."""
    return lambda seen: name_of(at(seen, path).value(place))


def first_listed(seen: Seen) -> str:
    """The first model of the list."""
    reply = at(seen, MODELS)
    return name_of(reply.value("data.0.id")) if lists_models(reply) else ""


def first_loaded(seen: Seen) -> str:
    """The first model of llama-server's list that is loaded: asking for another would load it."""
    for model in listed(at(seen, MODELS)):
        if Reply(document=model).value("status.value") in (None, "loaded"):
            return name_of(model["id"])
    return ""


def first_resident(seen: Seen) -> str:
    """The first model that Ollama holds in memory: asking for another would load it."""
    return name_of(at(seen, "/api/ps").value("models.0.model")) or name_of(at(seen, "/api/ps").value("models.0.name"))


def by_routes(otherwise: str) -> Told:
    """The protocol of the first route that FastAPI describes; another where it describes none at all."""

    def protocol(seen: Seen) -> str:
        described = at(seen, OPENAPI)
        if not good(described) or b'"paths"' not in described.body:
            return otherwise
        return next((protocol for protocol, route in ROUTES.items() if route in described.body), "")

    return protocol


def by_model_info(seen: Seen) -> str:
    """The protocol of an SGLang, which says whether its model generates."""
    return "openai-embeddings" if at(seen, "/model_info").value("is_generation") is False else "openai-chat"


def by_model_type(seen: Seen) -> str:
    """The protocol of a TEI, whose model embeds, reranks or classifies."""
    kind = at(seen, "/info").value("model_type")
    return "tei" if kind is None or (isinstance(kind, dict) and "embedding" in kind) else ""


def by_family(seen: Seen) -> str:
    """The protocol of the model that Ollama holds in memory: a BERT cannot chat."""
    family = at(seen, "/api/ps").value("models.0.details.family")
    return "ollama-embed" if isinstance(family, str) and "bert" in family else "ollama"


def by_capabilities(seen: Seen) -> str:
    """The protocol of an infinity's first model."""
    able = at(seen, "/models").value("data.0.capabilities")
    return next((protocol for word, protocol in ABLE.items() if isinstance(able, list) and word in able), "")


def by_task(seen: Seen) -> str:
    """The protocol of an SGLang diffusion server, which makes images or videos."""
    task = at(seen, MODELS).value("data.0.task_type")
    return "openai-images" if task in ("T2I", "TI2I") else ""


def by_endpoints(seen: Seen) -> str:
    """The protocol of a Gradio app: its own where there is a chat, for no other function is known to be harmless."""
    return "gradio" if chat_endpoint(seen) else ""


def chat_endpoint(seen: Seen) -> str:
    """The first endpoint of a Gradio app that is a ChatInterface's, whatever it is called; empty where none is.

    By Gradio's source from version 4 to 6.31 that is the click on a hidden button called "Fake API", which takes a
    text and the state of the chat and gives that back.
    """
    config = at(seen, "/config")
    parts = {number: part for part in objects(config.value("components")) if isinstance(number := part.get("id"), int)}
    return next((name_of(it.get("api_name")) for it in objects(config.value("dependencies")) if _chats(it, parts)), "")


def _chats(dependency: dict[str, Json], parts: Mapping[int, dict[str, Json]]) -> bool:
    match dependency:
        case {
            "targets": [[int(button), "click"]],
            "inputs": [int(_), int(state), *_],
            "outputs": [int(_), int(kept), *_],
        }:
            pass
        case _:
            return False
    match parts.get(button), parts.get(state):
        case {"type": "button", "props": {"value": "Fake API", "visible": False}}, {"type": "state"}:
            return state == kept and _public(dependency)
        case _:
            return False


def _public(dependency: dict[str, Json]) -> bool:
    # Before version 6 what is now its visibility was whether it is shown.
    shown = dependency.get("api_visibility", "public") == "public" and dependency.get("show_api", True) is True
    return shown and bool(name_of(dependency.get("api_name")))
