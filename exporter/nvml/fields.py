"""Numbers that are asked for by their ids, many in one call: each has a scope, a return code and a type of its own."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Protocol, cast

from exporter.nvml.door import Respondent, number

Field = int | tuple[int, int]
"""An id, with a scope where it has one, such as a link."""

EVERY_LINK = 0xFFFFFFFF
"""The scope of a sum over all links."""


class Type(IntEnum):
    """Where in a value its number stands."""

    UNSIGNED_INT = 1
    UNSIGNED_LONG = 2
    UNSIGNED_LONG_LONG = 3
    SIGNED_LONG_LONG = 4
    SIGNED_INT = 5
    UNSIGNED_SHORT = 6


PARTS: Mapping[int, str] = {
    Type.UNSIGNED_INT: "uiVal",
    Type.UNSIGNED_LONG: "ulVal",
    Type.UNSIGNED_LONG_LONG: "ullVal",
    Type.SIGNED_LONG_LONG: "sllVal",
    Type.SIGNED_INT: "siVal",
    Type.UNSIGNED_SHORT: "usVal",
}
"""Without the double: no field that is asked for is one, whatever a driver calls it."""

MEMORY_TEMPERATURE = 82
SW_THERMAL, HW_THERMAL, HW_POWER_BRAKE = 269, 270, 271

MISCALLED: Mapping[int, int] = {MEMORY_TEMPERATURE: Type.UNSIGNED_INT}
"""Types of fields which some drivers call otherwise, as 545 calls this one a double."""

WIDE = frozenset({Type.UNSIGNED_LONG, Type.UNSIGNED_LONG_LONG, Type.SIGNED_LONG_LONG})
COUNTS_OF_NANOSECONDS = frozenset({SW_THERMAL, HW_THERMAL, HW_POWER_BRAKE})
"""Drivers 575 to 580.65 have settings under these ids, which are no counts and too narrow for one."""


class Entry(Protocol):
    """One field as pynvml hands it out."""

    nvmlReturn: int  # noqa: N815  pynvml calls it so
    valueType: int  # noqa: N815  pynvml calls it so
    value: object


def values(told: Respondent, *asked: Field) -> Mapping[Field, int]:
    """What a GPU tells of these fields, in one call and without those it cannot tell; all empty where it fails.

    The array that the driver fills is a new one each time, since it adds some fields to what it finds there.
    """
    answer = told.told("nvmlDeviceGetFieldValues", asked)
    if answer is None:
        return {}
    entries = cast("Iterable[Entry]", answer)  # pynvml has no types
    found = ((field, _number(field, entry)) for field, entry in zip(asked, entries, strict=True))
    return {field: value for field, value in found if value is not None}


def _number(field: Field, entry: Entry) -> int | None:
    id_ = field if isinstance(field, int) else field[0]
    type_ = MISCALLED.get(id_, entry.valueType)
    refused = entry.nvmlReturn or type_ not in PARTS or (id_ in COUNTS_OF_NANOSECONDS and type_ not in WIDE)
    return None if refused else number(getattr(entry.value, PARTS[type_]))
