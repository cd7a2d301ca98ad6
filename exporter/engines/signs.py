"""What gives an engine away: questions to an answer, and to all the answers so far."""

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus

from exporter.engines.row import Reply, Seen, at
from exporter.paths import Json

FRONT = "/"
MODELS = "/v1/models"
OPENAPI = "/openapi.json"
LONGEST = 256 * 2**10  # What can be parsed without holding up the loop.
LONGEST_NAME = 512

REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
UNAVAILABLE = (0, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

Holds = Callable[[Reply], bool]
Asked = Callable[[Seen], bool]


def good(reply: Reply) -> bool:
    """Whether the status is one of success."""
    return HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES


def says(text: bytes) -> Holds:
    """Whether the body is this text and nothing else."""
    return lambda reply: good(reply) and reply.body.strip() == text


def mentions(*patterns: bytes) -> Holds:
    """Whether the body holds all of these, in upper or lower case."""
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    return lambda reply: all(pattern.search(reply.body) for pattern in compiled)


def tells(**fields: Json) -> Holds:
    """Whether the document has these values."""
    return lambda reply: good(reply) and all(reply.value(place) == value for place, value in fields.items())


def names(*places: str) -> Holds:
    """Whether the document has something at all of these places."""
    return lambda reply: good(reply) and all(reply.value(place) is not None for place in places)


def served_by(pattern: str) -> Holds:
    """Whether the header Server begins so."""
    return lambda reply: re.match(pattern, reply.headers.get("server", "")) is not None


def both(one: Holds, other: Holds) -> Holds:
    """Whether both hold."""
    return lambda reply: one(reply) and other(reply)


def either(one: Holds, other: Holds) -> Holds:
    """Whether at least one holds."""
    return lambda reply: one(reply) or other(reply)


def unauthorized(reply: Reply) -> bool:
    """Whether a key is asked for in the words that vLLM and SGLang share."""
    return reply.status == HTTPStatus.UNAUTHORIZED and reply.document == {"error": "Unauthorized"}


def keyless(reply: Reply) -> bool:
    """Whether a key is asked for without a word, as TEI does."""
    return reply.status == HTTPStatus.UNAUTHORIZED and not reply.body


def not_found(reply: Reply) -> bool:
    """Whether a path is unknown in the words of FastAPI."""
    return reply.status == HTTPStatus.NOT_FOUND and reply.document == {"detail": "Not Found"}


def only_a_version(reply: Reply) -> bool:
    """Whether the document is a version and nothing else."""
    return good(reply) and reply.document == {"version": reply.value("version")}


def health_check(reply: Reply) -> bool:
    """Whether the front page is a health check, as with TGI and TEI."""
    return (reply.status == HTTPStatus.OK and not reply.body) or (
        reply.status == HTTPStatus.SERVICE_UNAVAILABLE and reply.value("error") == "unhealthy"
    )


def sent_to_docs(reply: Reply) -> bool:
    """Whether the front page sends its visitor to FastAPI's own documentation."""
    return HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST and reply.headers.get(
        "location", ""
    ).endswith("/docs")


def name_of(value: Json) -> str:
    """A name that can be asked for and published, empty where there is none."""
    if not isinstance(value, str):
        return ""
    try:
        return value if len(value.encode()) <= LONGEST_NAME else ""
    except UnicodeEncodeError:  # half a character
        return ""


def listed(reply: Reply) -> Iterator[dict[str, Json]]:
    """The models of a list in OpenAI's form, those with a name."""
    models = reply.value("data") if good(reply) else None
    for model in models if isinstance(models, list) else ():
        if isinstance(model, dict) and name_of(model.get("id")):
            yield model


def owned_by(*owners: str) -> Holds:
    """Whether there are models, all with one of these owners: a gateway that has several is none of the engines."""
    return lambda reply: {str(model.get("owned_by")) for model in listed(reply)} in [{owner} for owner in owners]


def owned_by_themselves(reply: Reply) -> bool:
    """Whether every model is its own owner and was made in 1970, as with TGI."""
    models = list(listed(reply))
    return bool(models) and all(it.get("owned_by") == it["id"] and it.get("created") == 0 for it in models)


def lists_models(reply: Reply) -> bool:
    """Whether the first model of a list has a name."""
    models = reply.value("data") if good(reply) else None
    return isinstance(models, list) and bool(models) and next(listed(reply), None) is models[0]


def front(holds: Holds) -> Asked:
    """Whether to ask: where the front page is so."""
    return lambda seen: holds(at(seen, FRONT))


def models(holds: Holds) -> Asked:
    """Whether to ask: where the list of models is so."""
    return lambda seen: holds(at(seen, MODELS))


def unlisted(seen: Seen) -> bool:
    """Whether to ask: where there is no list of models."""
    return MODELS in seen and not lists_models(seen[MODELS])


def nameless(seen: Seen) -> bool:
    """Whether to ask: where models are listed whose owner is no engine, or where FastAPI answers."""
    return MODELS in seen and (lists_models(seen[MODELS]) or not_found(seen[MODELS]))
