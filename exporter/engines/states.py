"""What an engine says of its own state: in its health answers, and where a prompt would wake or load a model."""

import re
from contextlib import suppress
from http import HTTPStatus

from exporter.engines.row import Condition, Judge, Reply, Skip
from exporter.engines.signs import LONGEST, listed
from exporter.paths import Json
from exporter.response import parsed
from exporter.wire import Failed, Failure, Recognition, Sight, refusal


def ordinary(status: int, body: bytes) -> Condition | None:
    """What a health answer means where nothing more is known of the engine."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Condition.READY
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    return Condition.LOADING if refusal(status, body) is Failure.LOADING else Condition.UNHEALTHY


def with_status(**meanings: Condition) -> Judge:
    """What a health answer means whose field `status` has these words of its own."""

    def condition(status: int, body: bytes) -> Condition | None:
        word = _document(body).value("status")
        return meanings.get(word.lower(), ordinary(status, body)) if isinstance(word, str) else ordinary(status, body)

    return condition


def with_words(status: int, pattern: bytes, meaning: Condition) -> Judge:
    """What a health answer means that has this meaning where status and body are these."""
    words = re.compile(pattern, re.IGNORECASE)

    def condition(answered: int, body: bytes) -> Condition | None:
        return meaning if answered == status and words.search(body) else ordinary(answered, body)

    return condition


def asleep_by_props(reply: Reply, _found: Recognition) -> Sight:
    """What llama-server's `/props` says against a prompt."""
    if reply.value("error.message") == "Loading model":
        return Sight(skip=Skip.LOADING)
    return Sight(skip=Skip.ASLEEP if reply.value("is_sleeping") is True else None)


def unloaded_by_router(reply: Reply, found: Recognition) -> Sight:
    """What the list of a llama-server that routes to several models says against a prompt to this one."""
    status = {str(it["id"]): Reply(document=it).value("status.value") for it in listed(reply)}
    meanings = {"loaded": None, "loading": Skip.LOADING, "sleeping": Skip.ASLEEP}
    if not found.model:
        idle = status and not {"loaded", None} & set(map(_word, status.values()))
        return Sight(skip=Skip.UNLOADED if idle else None)
    value = _word(status.get(found.model))
    return Sight(skip=None if value is None else meanings.get(value, Skip.UNLOADED))


def asleep_by_metrics(reply: Reply, _found: Recognition) -> Sight:
    """What vLLM's metrics say against a prompt: none of its engines is awake."""
    awake = [
        line.rpartition(b" ")[2]
        for line in reply.body.splitlines()
        if line.startswith(b"vllm:engine_sleep_state{") and b'sleep_state="awake"' in line
    ]
    return Sight(skip=Skip.ASLEEP if awake and not any(value.strip(b"0.") for value in awake) else None)


def asleep_by_health(reply: Reply, _found: Recognition) -> Sight:
    """What LMDeploy's `/health` says against a prompt."""
    return Sight(skip=Skip.ASLEEP if reply.value("status") == "sleeping" else None)


def _document(body: bytes) -> Reply:
    with suppress(Failed):
        if len(body) <= LONGEST:
            return Reply(status=HTTPStatus.OK, document=parsed(body))
    return Reply()


def _word(value: Json) -> str | None:
    return value if isinstance(value, str) else None
