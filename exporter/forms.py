"""What services say of their load in JSON of their own, as samples."""

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from exporter.normal import LARGEST, Sample
from exporter.paths import Json
from exporter.response import parsed
from exporter.wire import Failed, Failure


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
    busy = [slot for slot in document if isinstance(slot, dict) and slot.get("is_processing") is True]
    yield Sample("slots.processing", {}, float(len(busy)))
    room = sum(_numbers(slot).get("n_ctx", 0.0) for slot in document)
    # What a slot has generated joins the tokens of its prompt: n_decoded added to them would be counted twice.
    held = [_numbers(slot).get("n_prompt_tokens") for slot in busy]
    if room > 0 and None not in held:
        yield Sample("slots.kv_cache_usage", {}, sum(filter(None, held)) / room)


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
