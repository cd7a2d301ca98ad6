"""The kinds of value that settings have: what a person may type for each, and what the program gets."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from exporter.frozen import by_place, frozen
from exporter.keys import sendable
from exporter.paths import Path as JsonPath
from exporter.trust import judging_by

T = TypeVar("T")

ON_OFF = [True, False, "on", "off", "true", "false"]
OPEN_WORDS = {"auto": ["auto"], "none": ["none", "null"], "off": ["off", "false"]}


@by_place
class Word:
    """The word that a person types where a value is left open, which is None in the program."""

    word: str

    def meant(self, value: object) -> object:
        """None for the word, any other value as it is."""
        if not isinstance(value, str | bool):
            return value
        if self.word == "off" and str(value).lower() in {"on", "true"}:
            return {}
        return None if str(value).lower() in OPEN_WORDS[self.word] else value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            self.meant,
            handler(source),
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda value, spelt: self.word if value is None else spelt(value), when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        shape = handler(schema)
        words = ON_OFF if self.word == "off" else [*OPEN_WORDS[self.word], None]
        choices = [choice for choice in shape.get("anyOf", [shape]) if choice != {"type": "null"}]
        return {"anyOf": [{"enum": words}, *choices]}


Auto = Annotated[T | None, Word("auto")]
OrNone = Annotated[T | None, Word("none")]
OrOff = Annotated[T | None, Word("off")]


@by_place
class OneOrMore:
    """A list, of which one alone may stand without brackets; by environment it is JSON."""

    def several(self, value: object) -> Sequence[object]:
        """The list that is meant."""
        value = _from_json(value) if isinstance(value, str) and value.startswith(("[", "{")) else value
        return value if isinstance(value, list | tuple) else [value]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.several, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        shape = handler(schema)
        return {"anyOf": [shape, shape["items"]]}


Listed = Annotated[tuple[T, ...], OneOrMore()]


@by_place
class Matching:
    """A text that matches a pattern as a whole; editors are told the pattern, and a person what it means."""

    pattern: str
    expected: str

    def checked(self, text: str) -> str:
        """The text as it is; raises ValueError where it does not match."""
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(self.expected)
        return text

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}


Text = Annotated[str, Matching(r"[\s\S]+", "text")]
Name = Annotated[str, Matching(r"[A-Za-z0-9._:-]{1,63}", "a name of 1 to 63 letters, digits and . _ : -")]
UrlPath = Annotated[str, Matching(r"/[^\s#]*", "a path that begins with /, without spaces and #")]
TargetsFile = Annotated[
    str,
    Matching(
        r"[^*\0]*(?:\*[^/\0]*)?\.(?:json|yml|yaml)",
        "a path that ends in .json, .yml or .yaml, with one * in its last part or none",
    ),
]
FilePath = Annotated[str, Matching(r"/[^\0]*", "a path that begins with /")]
UnitName = Annotated[
    str,
    Matching(
        r"(?!.*@(?:\.[a-z]+)?$)[A-Za-z0-9:_.\\@-]{1,255}", "a unit of systemd, such as vllm.service or vllm@llama"
    ),
]
HeaderName = Annotated[str, Matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "a header's name, such as X-Api-Key")]


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")  # noqa: TRY004  what pydantic takes for a wrong value
    return value


Number = BeforeValidator(_number)
Share = Annotated[float, Number, Field(gt=0, le=1)]
Jitter = Annotated[float, Number, Field(ge=0, lt=1)]
Speed = Annotated[float, Number, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Number, Field(ge=1)]
Misses = Annotated[int, Number, Field(ge=1, le=10)]
Port = Annotated[int, Number, Field(ge=1, le=65535)]
Status = Annotated[int, Number, Field(ge=100, le=599)]
Index = Annotated[int, Number, Field(ge=0)]
Finite = Annotated[float, Number, Field(allow_inf_nan=False)]
Amount = Annotated[float, Number, Field(ge=0, allow_inf_nan=False)]
Cosine = Annotated[float, Number, Field(ge=-1, le=1)]
Switch = Annotated[bool, WithJsonSchema({"enum": ON_OFF})]


LONGEST = 1e9  # three decades; beyond it a clock can no longer wait
NUMBER = r"\d+(?:\.\d+)?"
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
DURATION = "".join(rf"(?:({NUMBER}){unit})?" for unit in UNITS)


def seconds(value: object) -> float:
    """A duration in seconds: a number of them, or such as 500ms, 15s, 1h30m."""
    wrong = ValueError("a duration above 0, such as 500ms, 15s, 5m or 24h")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong
    told = _seconds(value.strip().lower()) if isinstance(value, str) else value
    if not 0 < told < LONGEST:
        raise wrong
    return float(told)


def _seconds(text: str) -> float:
    if re.fullmatch(NUMBER, text):
        return float(text)
    amounts = re.fullmatch(DURATION, text)
    if amounts is None:
        return 0.0
    return sum(float(amount) * unit for amount, unit in zip(amounts.groups("0"), UNITS.values(), strict=True))


def spelled(duration: float) -> str:
    """A duration as a person would type it."""
    for unit, size in UNITS.items():
        amount = duration / size
        if amount.is_integer():
            return f"{amount:.0f}{unit}"
    return f"{Decimal(repr(duration)):f}s"


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    PlainSerializer(spelled, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^(?:{NUMBER}|(?=.){DURATION})$"},
            ]
        }
    ),
]


def _from_json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def decoded(value: object) -> object:
    """What a text holds as JSON, the text itself where it holds none; any other value as it is."""
    return _from_json(value) if isinstance(value, str) else value


def json_alone(value: object) -> object:
    """A value as it is; raises ValueError where JSON has no such value."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("JSON") from error
    return value


def _json(value: object) -> object:
    """Any JSON, or its text."""
    if not isinstance(value, str):
        return json_alone(value)
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError("JSON") from error


def _json_path(text: str) -> str:
    try:
        JsonPath.parse(text)
    except ValueError as error:
        raise ValueError(f"a JSON path ({error})") from error
    return text


Json = Annotated[JsonValue, BeforeValidator(_json)]
JsonPathText = Annotated[str, AfterValidator(_json_path)]
FromJson = BeforeValidator(decoded)


def _sendable(secret: SecretStr) -> SecretStr:
    sendable(secret.get_secret_value())
    return secret


HeaderValue = Annotated[SecretStr, AfterValidator(_sendable)]


@frozen
class LoadedKey:
    """A service's key; as good as another that comes from the same place, whatever stands there by now."""

    secret: SecretStr = field(compare=False)
    file: Path | None
    """Where it was read from; None where a variable holds it."""


def _loaded(value: object) -> object:
    if value is not None and not isinstance(value, LoadedKey):
        raise ValueError("a file named in api_key_file, or the key in MODEL_SIDECAR_API_KEY")
    return value


def _resolved(value: object) -> object:
    if value is not None:
        raise ValueError("an address in url alone, where dns+http:// stands for every address of a name")
    return value


def _in_variables(value: object) -> object:
    if value != {}:
        raise ValueError("none, since keys stand in variables such as MODEL_SIDECAR_API_KEY__NAME")
    return value


ApiKey = Annotated[LoadedKey | None, BeforeValidator(_loaded)]
KeysByVariable = Annotated[Mapping[str, SecretStr], BeforeValidator(_in_variables)]
Resolved = Annotated[str | None, BeforeValidator(_resolved)]


def _certificates(file: str) -> str:
    judging_by(Path(file))
    return file


CaFile = Annotated[Text, AfterValidator(_certificates)]


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _none(value: object) -> object:
    return "none" if str(value).lower() in OPEN_WORDS["none"] else value


AnyCase = BeforeValidator(_lowered)
NoneIsAWord = BeforeValidator(_none)
"""For words of which none is one."""
