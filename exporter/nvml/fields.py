"""Numbers that are asked for by their ids, many in one call: each has a scope, a return code and a type of its own."""

import ctypes
from collections.abc import Mapping
from enum import IntEnum
from functools import cache, lru_cache
from struct import Struct
from typing import cast

import pynvml

from exporter.nvml.door import Respondent, number

ASKED, TOLD = Struct("=2I32x"), Struct("=I20x2I8s")
"""A field as the driver lays it out, asked for by id and scope, and told with its type, return code and value."""

Field = int | tuple[int, int]
"""An id, with a scope where it has one, such as a link."""

EVERY_LINK = 0xFFFFFFFF
"""The scope of a sum over all links."""


class Type(IntEnum):
    """Of what kind a value is."""

    UNSIGNED_INT = 1
    UNSIGNED_LONG = 2
    UNSIGNED_LONG_LONG = 3
    SIGNED_LONG_LONG = 4
    SIGNED_INT = 5
    UNSIGNED_SHORT = 6


LAYOUTS: Mapping[int, Struct] = {
    Type.UNSIGNED_INT: Struct("=I4x"),
    Type.UNSIGNED_LONG: Struct("=Q"),
    Type.UNSIGNED_LONG_LONG: Struct("=Q"),
    Type.SIGNED_LONG_LONG: Struct("=q"),
    Type.SIGNED_INT: Struct("=i4x"),
    Type.UNSIGNED_SHORT: Struct("=H6x"),
}
"""Without the double: no field that is asked for is one, whatever a driver calls it."""

MEMORY_TEMPERATURE = 82
SW_THERMAL, HW_THERMAL, HW_POWER_BRAKE = 269, 270, 271

MISCALLED: Mapping[int, int] = {MEMORY_TEMPERATURE: Type.UNSIGNED_INT}
"""Types of fields which some drivers call otherwise, as 545 calls this one a double."""

WIDE = frozenset({Type.UNSIGNED_LONG, Type.UNSIGNED_LONG_LONG, Type.SIGNED_LONG_LONG})
COUNTS_OF_NANOSECONDS = frozenset({SW_THERMAL, HW_THERMAL, HW_POWER_BRAKE})
"""Drivers 575 to 580.65 have settings under these ids, which are no counts and too narrow for one."""


def ask(gpu: object, asked: tuple[Field, ...]) -> bytes:
    """These fields as the driver lays them out, once it was asked; raises NVMLError.

    In place of the binding's function, which makes an object of each field: to ask for 64 and to read them takes
    30 µs besides what the driver takes, and took 140.
    """
    function = getattr(pynvml.nvmlLib, "nvmlDeviceGetFieldValues", None)
    if function is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    # An array of its own for each call, since the driver adds some fields to what it finds there.
    array = ctypes.create_string_buffer(_question(asked), ASKED.size * len(asked))
    code = function(gpu, len(asked), array)
    if code != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(code)
    return array.raw


def values(told: Respondent, *asked: Field) -> Mapping[Field, int]:
    """What a GPU tells of these fields, in one call and without those it cannot tell; all empty where it fails."""
    answer = told.told("nvmlDeviceGetFieldValues", asked)
    if answer is None:
        return {}
    entries = TOLD.iter_unpack(cast("bytes", answer))  # as `ask` gives it
    found: dict[Field, int] = {}
    for field, entry in zip(asked, entries, strict=True):
        value = _number(*entry)
        if value is not None:
            found[field] = value
    return found


@cache  # The same few at every look.
def _question(asked: tuple[Field, ...]) -> bytes:
    scoped = ((field, 0) if isinstance(field, int) else field for field in asked)
    return b"".join(ASKED.pack(*each) for each in scoped)


@lru_cache(maxsize=1024)  # Most counts stand still, as do those of errors on each of 18 links.
def _number(id_: int, called: int, refusal: int, value: bytes) -> int | None:
    type_ = MISCALLED.get(id_, called)
    if refusal or type_ not in LAYOUTS or (id_ in COUNTS_OF_NANOSECONDS and type_ not in WIDE):
        return None
    return number(*LAYOUTS[type_].unpack(value))
