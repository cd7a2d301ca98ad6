"""What is asked of an answer: the kinds of value that its checks have, and the checks."""

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, PlainSerializer, WithJsonSchema

from exporter.checks import schema
from exporter.checks.canary import Canary
from exporter.checks.numbers import Range
from exporter.checks.pattern import Pattern
from exporter.settings.kinds import (
    ON_OFF,
    Cosine,
    Count,
    Finite,
    FromJson,
    Index,
    JsonPathText,
    Listed,
    OrNone,
    OrOff,
    Switch,
    Text,
    decoded,
    json_alone,
)
from exporter.settings.sections import Contradiction, Section, overlaid, setting

SWITCHED = {"true": "on", "false": "off"}
ENDS = {"min", "max"}
WANTED_RANGE = "a number, or min, max or both, such as {min: 0, max: 1}"


def _canary(value: object) -> object:
    if not isinstance(value, str | bool):
        return value
    word = str(value).lower()
    return SWITCHED.get(word, word)


def _pattern(text: str) -> str:
    try:
        Pattern.parse(text)
    except ValueError as error:
        raise ValueError(f"a regular expression ({error})") from error
    return text


def _range(value: object) -> object:
    """The numbers from min to max; a number alone is both."""
    given = decoded(value)
    if isinstance(given, Range):
        return given
    ends = given if isinstance(given, Mapping) else {"min": given, "max": given}
    if not ends:
        raise ValueError(WANTED_RANGE)
    for name in ends:
        if name not in ENDS:
            raise ValueError(f"{WANTED_RANGE}, not {name}")
    meant = Range(**{name: _end(end) for name, end in ends.items()})
    if meant.min > meant.max:
        raise ValueError("a min that is no more than its max")
    return meant


def _end(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(WANTED_RANGE)
    return float(value)


def _typed_range(value: Range) -> dict[str, float]:
    ends = {"min": value.min, "max": value.max}
    return {name: end for name, end in ends.items() if abs(end) <= sys.float_info.max}


def _wanted(value: object) -> object:
    """What is to stand somewhere in JSON; what names min or max and nothing else is a range."""
    return _range(value) if isinstance(value, Mapping) and value and value.keys() <= ENDS else json_alone(value)


def _typed_wanted(value: JsonValue | Range) -> object:
    return _typed_range(value) if isinstance(value, Range) else value


def _schema(typed: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        schema.parse(typed)
    except ValueError as error:
        raise ValueError(f"a JSON schema ({error})") from error
    except RecursionError as error:
        raise ValueError("a JSON schema whose parts do not stand so deep in one another") from error
    return typed


def _embedding(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if numbers and not any(numbers):
        raise ValueError("numbers that are not all 0")
    return numbers


def _each_once(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(numbers)) < len(numbers):
        raise ValueError("each document once")
    return numbers


RANGE_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "number"} for name in sorted(ENDS, reverse=True)},
    "additionalProperties": False,
    "minProperties": 1,
}

CanaryWord = Annotated[Canary, BeforeValidator(_canary), WithJsonSchema({"enum": ["auto", *ON_OFF]})]
PatternText = Annotated[Text, AfterValidator(_pattern)]
Numbers = Annotated[
    Range,
    BeforeValidator(_range),
    PlainSerializer(_typed_range, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, RANGE_SCHEMA]}),
]
# In this order, since a dataclass would be made of any mapping.
Wanted = Annotated[
    JsonValue | Range,
    Field(union_mode="left_to_right"),
    BeforeValidator(_wanted),
    PlainSerializer(_typed_wanted, when_used="json"),
    WithJsonSchema({}),
]
JsonSchema = Annotated[dict[str, JsonValue], FromJson, AfterValidator(_schema)]
Golden = Annotated[Listed[Finite], AfterValidator(_embedding)]
Ranked = Annotated[Listed[Index], AfterValidator(_each_once)]


class Image(Section):
    """What images are to be like."""

    width: OrNone[Count] = setting("none", "How wide an image is to be, in pixels.")
    height: OrNone[Count] = setting("none", "How high an image is to be, in pixels.")
    blank: Switch = setting(default=False, description="Whether an image of one colour will do.")


class Checks(Section):
    """What is asked of an answer, beyond that it is one."""

    canary: CanaryWord = setting(
        "auto", "Whether a wrong sum is a failure; auto believes only a model that was right 50 times in a row."
    )
    repetition: Switch = setting(default=True, description="Whether an answer that says one thing over and over fails.")
    contains: OrNone[Text] = setting("none", "Text that the answer holds.")
    matches: OrNone[PatternText] = setting(
        "none", "A regular expression, in the syntax of RE2, that any part of the answer matches."
    )
    number: OrNone[Numbers] = setting(
        "none", "Where at least one number in the answer lies: a number, or {min: …, max: …}."
    )
    fields: Annotated[Mapping[JsonPathText, Wanted], FromJson] = Field(
        {},
        alias="json",
        description="What stands where in the JSON that was said: JSON paths, and values or {min: …, max: …}.",
    )
    json_schema: OrNone[JsonSchema] = setting("none", "A JSON schema that what was said keeps to.")
    finish: OrNone[Text] = setting("none", "Why the model stops, in the server's word, such as stop or length.")
    min_tokens: OrNone[Count] = setting("none", "How many output tokens the answer has at least.")
    flat: Switch = setting(default=False, description="Whether an embedding of zeros, or of one number, will do.")
    dimensions: OrNone[Count] = setting("none", "How many numbers an embedding has.")
    norm: OrNone[Numbers] = setting("none", "The length of an embedding: a number, or {min: …, max: …}.")
    golden: Golden = setting((), "The embedding that is expected, as model-sidecar baseline records it.")
    min_similarity: Cosine = setting(0.98, "The least cosine between an embedding and the golden one.")
    ranked: Ranked = setting(
        (), "Numbers of documents, from 0, in the order in which a reranker is to put them, the most relevant first."
    )
    scores: OrNone[Numbers] = setting("none", "Where every score of a reranker lies: a number, or {min: …, max: …}.")
    image: OrOff[Image] = setting("on", "What images are to be like, or off, and they are not looked at.")

    def but_for(self, own: Self) -> Self:
        """These checks, but for what was typed in others."""
        every = self.model_dump(mode="json", by_alias=True)
        return self.model_validate(overlaid(type(self), every, own.typed()))

    def typed(self) -> dict[str, object]:
        """What was typed, as a file would give it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def contradictions(self, documents: int) -> Iterator[Contradiction]:
        """What does not go together here, or with so many documents; with none their number is not known."""
        if self.golden and self.dimensions not in {None, len(self.golden)}:
            yield ("dimensions",), f"none or {len(self.golden)}, as many as golden has"
        if documents and max(self.ranked, default=0) >= documents:
            yield ("ranked",), f"numbers below {documents}, since so many are prompt.documents"
