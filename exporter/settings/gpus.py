"""GPUs as a person names them: those of a service, and those that are read."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, WithJsonSchema

from exporter.settings.kinds import OneOrMore

INDEX = r"[0-9]{1,4}"
UUID = r"(?:GPU|MIG)-[0-9A-Za-z/-]+"


def _gpu(value: object) -> int | str:
    """A GPU's index on this host, or its UUID."""
    typed = str(value)
    if re.fullmatch(INDEX, typed):
        return int(typed)
    if re.fullmatch(UUID, typed):
        return typed
    raise ValueError("a GPU's index from 0, or its UUID, which begins with GPU- or MIG-")


GPU_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{UUID}$"}]}
GpuName = Annotated[int | str, BeforeValidator(_gpu), WithJsonSchema(GPU_SCHEMA)]


WORDS_FOR_GPUS = ("all", "targets")
WANTED_GPUS = "all, targets, or GPUs by their index from 0 or their UUID"


def _gpus(value: object) -> object:
    """A word, or GPUs."""
    if isinstance(value, str) and value.lower() in WORDS_FOR_GPUS:
        return value.lower()
    named: list[int | str] = []
    for each in (several := OneOrMore().several(value)):
        try:
            named.append(_gpu(each))
        except ValueError as error:
            raise ValueError(WANTED_GPUS if several == [value] else f"{WANTED_GPUS}, not {each}") from error
    if not named:
        raise ValueError(WANTED_GPUS)
    return tuple(named)


Gpus = Annotated[
    Literal["all", "targets"] | tuple[int | str, ...],
    BeforeValidator(_gpus),
    WithJsonSchema({"anyOf": [{"enum": [*WORDS_FOR_GPUS]}, GPU_SCHEMA, {"type": "array", "items": GPU_SCHEMA}]}),
]
