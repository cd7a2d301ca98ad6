"""Sections: settings that stand together under a name, how two of them are joined, and how one is refused."""

from collections.abc import Iterable, Mapping
from itertools import chain, takewhile
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

Place = tuple[str | int, ...]
"""Where a setting stands: names of sections and settings, and numbers in lists."""

Contradiction = tuple[Place, str]
"""A setting that does not go with another, and what was expected instead."""


class Section(BaseModel):
    """Settings that stand together; a name that is none of them is refused."""

    # A section is built as a part of what it stands in, and by itself only where it is used so.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    @classmethod
    def settings(cls) -> Mapping[str, FieldInfo]:
        """Every setting by its name, as it is typed."""
        return {field.alias or name: field for name, field in cls.model_fields.items() if not field.exclude}


def setting(default: object, description: str) -> Any:  # noqa: ANN401  the field's kind is its annotation
    """A setting with its default as one would type it."""
    return Field(default, description=description)


def section_in(field: FieldInfo) -> type[Section] | None:
    """The section that a setting is, or a list of; None where it is a plain value."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def is_joined(field: FieldInfo) -> bool:
    """Whether the setting is a section of its own, which several origins fill together; a list is replaced whole."""
    return section_in(field) is not None and Ellipsis not in get_args(field.annotation)


def dotted(setting: Place) -> str:
    """A setting's name from the top, such as targets[0].prompt.every."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in setting).lstrip(".")


def stands(given: object, setting: Place) -> bool:
    """Whether a setting was typed."""
    for part in setting:
        match given:
            case Mapping() if part in given:
                given = given[part]
            case list() if isinstance(part, int) and 0 <= part < len(given):
                given = given[part]
            case _:
                return False
    return True


def value_at(given: Any, setting: Place) -> Any:  # noqa: ANN401  whatever was typed
    """The value of a setting that stands there."""
    for part in setting:
        given = given[part]
    return given


def nearest(setting: Place, places: Iterable[Place]) -> Place:
    """Of several places the one that has most of a setting's in common."""
    return max(places, key=lambda place: _shared(place, setting))


def _shared(place: Place, other: Place) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(place, other, strict=False)))


def overlaid(section: type[Section], lower: Mapping[str, object], upper: Mapping[str, object]) -> dict[str, object]:
    """The settings of both, the upper's where both have one; sections are joined, anything else is replaced.

    A section's name with nothing under it says nothing.
    """
    joined: dict[str, object] = {}
    for name, value in chain(lower.items(), upper.items()):
        field, below = section.settings().get(name), joined.get(name)
        inner = section_in(field) if field is not None and is_joined(field) else None
        if inner is not None and isinstance(value, Mapping):
            joined[name] = overlaid(inner, below if isinstance(below, Mapping) else {}, value)
        elif inner is None or value is not None:
            joined[name] = value
    return joined


def refuse(section: Section, contradictions: Iterable[Contradiction]) -> None:
    """Raise ValidationError where there is a contradiction."""
    wrong = [
        InitErrorDetails(
            type="assertion_error", loc=place, input=_at(section, place), ctx={"error": AssertionError(expected)}
        )
        for place, expected in contradictions
    ]
    if wrong:
        raise ValidationError.from_exception_data(type(section).__name__, wrong)


def _at(settings: Any, place: Place) -> object:  # noqa: ANN401  a section, or a list in one
    for part in place:
        settings = getattr(settings, part) if isinstance(part, str) else settings[part]
    return settings
