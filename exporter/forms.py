"""What services say of themselves, in pages of metrics and in JSON of their own, as samples."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeGuard

from prometheus_client.parser import text_string_to_metric_families

from exporter.figures import Form
from exporter.normal import LARGEST, Sample
from exporter.paths import Json
from exporter.response import parsed
from exporter.wire import Failed, Failure

LINE_LIMIT = 1024
SAMPLES_LIMIT = 5_000

LINE = re.compile(rb"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[ \t]*\{.*\}[ \t]*|[ \t]+)[-+]?(?:[0-9.]|inf|nan)", re.IGNORECASE)


def samples(body: bytes, form: Form, wanted: Collection[str]) -> Sequence[Sample]:
    """What a body says; of a page of metrics only what is wanted. Raises Failed where it is not of that form."""
    match form:
        case Form.PAGE:
            return tuple(page(body, wanted))
        case Form.LOADS:
            return tuple(loads(parsed(body)))
        case Form.SLOTS:
            return tuple(slots(parsed(body)))
        case Form.QUEUE:
            return tuple(queue(parsed(body)))
        case Form.FUNCTIONS:
            return tuple(functions(parsed(body)))


def page(body: bytes, wanted: Collection[str]) -> Iterator[Sample]:
    """The wanted lines of a page in Prometheus's text format; one that is spoiled is left out.

    Raises Failed: invalid where no line is one of metrics, too_large beyond 5,000 wanted lines.
    """
    lines = [line for line in map(bytes.strip, body.splitlines()) if line and not line.startswith(b"#")]
    named = [(found[1].decode(), line) for line in lines if (found := LINE.match(line, 0, LINE_LIMIT))]
    if lines and not named:
        raise Failed(Failure.INVALID, "no page of metrics")
    chosen = [line for name, line in named if name in wanted and len(line) <= LINE_LIMIT]
    if len(chosen) > SAMPLES_LIMIT:
        raise Failed(Failure.TOO_LARGE, f"more than {SAMPLES_LIMIT} series")
    for line in chosen:
        # The parser trips over some broken labels by looking for a character that is not there.
        with suppress(ValueError, LookupError):
            for family in text_string_to_metric_families(line.decode(errors="replace")):
                yield from (Sample(name, labels, value) for name, labels, value, *_ in family.samples)


def loads(document: Json) -> Iterator[Sample]:
    """The load of each of SGLang's replicas."""
    match document:
        case {"loads": [*replicas]}:
            for number, replica in enumerate(replicas):
                for key, value in _numbers(replica).items():
                    yield Sample(f"loads.{key}", {"replica": str(number)}, value)
        case _:
            raise Failed(Failure.INVALID, "no list of loads")


def slots(document: Json) -> Iterator[Sample]:
    """What llama-server's slots work on; an idle slot's cache may be overwritten and is not in use."""
    if not isinstance(document, list):
        raise Failed(Failure.INVALID, "no list of slots")
    of_slots = [slot for slot in document if isinstance(slot, dict)]
    busy = [slot for slot in of_slots if slot.get("is_processing") is True]
    yield Sample("slots.processing", {}, float(len(busy)))
    room = sum(_numbers(slot).get("n_ctx", 0.0) for slot in of_slots)
    # What a slot has generated joins the tokens of its prompt: n_decoded added to them would be counted twice.
    held = [_numbers(slot).get("n_prompt_tokens") for slot in busy]
    if room > 0 and None not in held:
        yield Sample("slots.kv_cache_usage", {}, sum(filter(None, held)) / room)
    for number, slot in enumerate(of_slots):
        yield from _turns(number, slot)


def _turns(number: int, slot: dict[str, Json]) -> Iterator[Sample]:
    which, told = {"slot": str(number)}, _numbers(slot)
    # Tasks are numbered from 0, and a slot that never had one tells none.
    yield Sample("slots.task", which, told.get("id_task", -1.0) + 1.0)
    # What stays behind in an idle slot was counted while it was busy.
    busy = slot.get("is_processing") is True
    yield Sample("slots.prompt", which, told.get("n_prompt_tokens_processed", 0.0) if busy else 0.0)
    yield Sample("slots.decoded", which, _decoded(slot) if busy else 0.0)


def _decoded(slot: dict[str, Json]) -> float:
    match slot.get("next_token"):
        case [said, *_] | said:
            return _numbers(said).get("n_decoded", 0.0)


def queue(document: Json) -> Iterator[Sample]:
    """How many events wait in Gradio's queue."""
    size = _numbers(document).get("queue_size")
    if size is None:
        raise Failed(Failure.INVALID, "no size of a queue")
    yield Sample("queue.size", {}, size)


def functions(document: Json) -> Iterator[Sample]:
    """How often each of Gradio's functions was called."""
    match document:
        case {"functions": dict(by_name)}:
            for name, function in by_name.items():
                for key, value in _numbers(function).items():
                    yield Sample(f"functions.{key}", {"handler": name}, value)
        case _:
            raise Failed(Failure.INVALID, "no functions")


def awake(body: bytes) -> bool:
    """Whether llama-server has its model loaded: one that sleeps, or routes to others, would load it for who asks."""
    match parsed(body):
        case {"is_sleeping": True} | {"role": "router"}:
            return False
        case _:
            return True


def _numbers(document: Json) -> Mapping[str, float]:
    if not isinstance(document, dict):
        return {}
    return {key: float(value) for key, value in document.items() if _is_number(value) and abs(value) <= LARGEST}


def _is_number(value: Json) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
