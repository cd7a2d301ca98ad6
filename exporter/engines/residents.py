"""What Ollama says of the models that it holds in memory, and of what would change how long it does."""

import re
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime

from exporter.engines.row import Reply, Skip
from exporter.exchange import objects
from exporter.paths import Json
from exporter.wire import Recognition, Sight

ABOUT_TO_GO = 5.0
"""Seconds before its end in which a model may be gone before a prompt is there, and would be loaded again by it."""
GOING = 10.0
"""Seconds after its end in which a model may still be on its way out; later than that, somebody keeps it busy."""
FOR_EVER = 10 * 365.25 * 86400.0
"""Of a model that is kept for ever, Ollama tells an end in 292 years."""

TELLS_CONTEXT = (0, 30)
FULL_BATCH = 2048


def resident_in_ollama(reply: Reply, found: Recognition) -> Sight:
    """What `/api/ps` says of a prompt to this model.

    No keep_alive goes with the prompt. By Ollama's source (0.3.0 to 0.33.0, server/sched.go, useLoadedRunner) a model
    keeps the last one that anybody sent for the requests of everybody after, so that what is left of its time, sent
    with a prompt, would become all the time that its users get, and less with every prompt. Without one its time
    begins anew; hence until when it is kept, for whoever asks to see whether others have used it since.
    """
    loaded = reply.value("models")
    if not isinstance(loaded, list):
        return Sight()
    model = next((it for it in objects(loaded) if not found.model or _names(it) & _called(found.model)), None)
    if model is None:
        return Sight(skip=Skip.UNLOADED)
    end = _time(model.get("expires_at"))
    left = None if end is None else end - _now(reply)
    if left is not None and -GOING <= left < ABOUT_TO_GO:
        return Sight(skip=Skip.UNLOADED)
    ends = left is not None and 0 <= left < FOR_EVER
    return Sight(fields=_as_loaded(model, found), until=end if ends else None)


def _names(model: dict[str, Json]) -> set[str]:
    return {str(model.get(key)) for key in ("name", "model")}


def _called(name: str) -> set[str]:
    return {name, f"{name}:latest"}


def _as_loaded(model: dict[str, Json], found: Recognition) -> dict[str, Json]:
    """The options without which a model that was loaded with others would be loaded again."""
    context = model.get("context_length")
    if not isinstance(context, int) or isinstance(context, bool) or context <= 0:
        return {}
    # Earlier versions tell the context as cut to what the model was trained for, and compare it uncut.
    if _version(found.version) < TELLS_CONTEXT:
        return {}
    # An embedding's batch is cut to the context that is asked for, not to the model's own, and is compared as well.
    if found.protocol == "ollama-embed" and context < FULL_BATCH:
        return {}
    return {"options": {"num_ctx": context}}


def _version(told: str) -> tuple[int, int]:
    numbers = re.match(r"([0-9]{1,9})\.([0-9]{1,9})", told)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def _now(reply: Reply) -> float:
    """When the answer was given, by the service's own clock where it tells."""
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        told = parsedate_to_datetime(reply.headers["date"])
        if told.tzinfo is not None:
            return told.timestamp()
    return reply.came


def _time(told: Json) -> float | None:
    """A moment as Go writes it, a Unix time."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(told) if isinstance(told, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.timestamp()
    return None
