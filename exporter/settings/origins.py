"""Where settings come from: layers over one another, and in which of them a wrong setting was typed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from exporter.frozen import frozen
from exporter.settings.kinds import Word
from exporter.settings.mistakes import NOT_SHOWN, Mistake, shown, stranger
from exporter.settings.model import SHARED, Settings
from exporter.settings.sections import Place, Section, dotted, is_joined, section_in, stands

SECRET = {"api_key", "headers"}

EXPECTED: Mapping[str, str] = {
    "string_type": "text (in quotes, where YAML would take it for something else)",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "on or off",
    "bool_parsing": "on or off",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "too_short": "at least {min_length}",
    "tuple_type": "a list",
    "mapping_type": "names and values",
    "dict_type": "names and values",
    "model_type": "names and values",
    "missing": "an address such as http://localhost:8000",
}


class Layer(Protocol):
    """Settings of one origin, and how each was typed."""

    @property
    def given(self) -> Mapping[str, object]:
        """The settings as they stand there."""

    def place(self, setting: Place) -> str:
        """Where a setting was typed, or the section that it would stand in."""

    def typed(self, setting: Place) -> str:
        """A setting as it was typed, on one line."""


@frozen
class Origin:
    """Where a setting was typed: its name there, of which the first parts stand there."""

    layer: Layer
    setting: Place
    standing: int

    @property
    def place(self) -> str:
        """The file's line, the variable or the flag."""
        return self.layer.place(self.setting[: self.standing])

    @property
    def typed(self) -> str | None:
        """The setting as it was typed; None where it was not."""
        return self.layer.typed(self.setting) if self.standing == len(self.setting) else None


def origin(setting: Place, layers: Sequence[Layer]) -> Origin:
    """Where a setting was typed, in the first of the layers that has it; else where it would stand.

    A target's setting may have been typed at the top level, for every target.
    """
    for length in range(_joined(setting), 0, -1):
        for there in _everywhere(setting, length):
            for layer in layers:
                if stands(layer.given, there):
                    return _deep(layer, (*there, *setting[length:]), len(there))
    return Origin(layer=layers[0], setting=setting, standing=0)


def _everywhere(setting: Place, length: int) -> Iterator[Place]:
    yield setting[:length]
    match setting[:length]:
        case ("targets", int(), shared, *_) if shared in SHARED:
            yield setting[2:length]


def _deep(layer: Layer, setting: Place, standing: int) -> Origin:
    while standing < len(setting) and stands(layer.given, setting[: standing + 1]):
        standing += 1
    return Origin(layer=layer, setting=setting, standing=standing)


def _joined(setting: Place) -> int:
    """How many parts lead to the value that one layer alone gives."""
    whole = (length for length, field in _along(setting) if length > 1 and not is_joined(field))
    return next(whole, len(setting))


def _along(setting: Place) -> Iterator[tuple[int, FieldInfo]]:
    """The settings that a place leads through, each with how many parts lead to it."""
    section: type[Section] | None = Settings
    for length, part in enumerate(setting, 1):
        if isinstance(part, int):
            continue
        field = section.settings().get(part) if section is not None else None
        if field is None:
            return
        yield length, field
        section = section_in(field)


def mistakes(error: ValidationError, layers: Sequence[Layer]) -> Iterator[Mistake]:
    """What is wrong, each with the place where it was typed."""
    for wrong in error.errors(include_url=False):
        setting = _named(wrong["loc"])
        if wrong["type"] in {"extra_forbidden", "invalid_key"}:
            yield _stranger(setting, origin(setting, layers))
        else:
            yield _wrong(wrong, origin(setting, layers), _field(setting))


def _named(setting: Place) -> Place:
    """The place of an error without the parts that name its kind, and without those within a value of any JSON."""
    last, field = max(_along(setting), key=lambda step: step[0], default=(0, None))
    if field is None or section_in(field) is not None:
        return setting
    keyed = get_origin(field.annotation) is Mapping or isinstance(next(iter(setting[last:]), None), int)
    return setting[: last + 1] if keyed else setting[:last]


def _field(setting: Place) -> FieldInfo | None:
    return next((field for length, field in _along(setting) if length == len(setting)), None)


def _stranger(setting: Place, typed_at: Origin) -> Mistake:
    *_, typed = setting
    fields = [field for _, field in _along(setting)]
    section = section_in(fields[-1]) if fields else Settings
    return stranger(
        typed_at.place,
        dotted((*typed_at.setting[:-1], str(typed))),
        names=tuple(part for part in setting if isinstance(part, str)),
        valid=tuple(section.settings()) if section is not None else (),
        typed=str(typed),
    )


def _wrong(wrong: ErrorDetails, typed_at: Origin, field: FieldInfo | None) -> Mistake:
    place, setting = typed_at.place, dotted(typed_at.setting)
    if wrong["type"] == "missing":
        found = "missing"
    elif SECRET.isdisjoint(typed_at.setting):
        found = typed_at.typed or shown(wrong["input"])
    else:
        found = NOT_SHOWN
    return Mistake(place=place, setting=setting, found=found, expected=expected(wrong, field))


def expected(wrong: ErrorDetails, field: FieldInfo | None) -> str:
    """What would have been right, in a person's words."""
    context = wrong.get("ctx", {})
    words = [part.word for part in field.metadata if isinstance(part, Word)] if field is not None else []
    match wrong["type"]:
        case "literal_error" | "enum":
            return ", ".join([*words, str(context["expected"]).replace("'", "")])
        case "value_error":
            return " or ".join([*words, str(context["error"])])
        case "assertion_error":
            return str(context["error"])  # how settings contradict one another, where the word may be what is wrong
        case known if known in EXPECTED:
            return " or ".join([*words, EXPECTED[known].format(**context)])
        case _:
            return wrong["msg"]
