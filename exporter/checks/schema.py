"""Whether JSON keeps to a schema; meant for a process of its own, since some documents take some schemas very long."""

import json
from collections.abc import Iterator

from exporter.checks.pattern import Pattern
from exporter.paths import Json


def parse(schema: Json) -> dict[str, Json]:
    """The schema that a person typed, as it is.

    Raises ValueError that says what is wrong with it.
    """
    # Loaded here, as below, since it costs 11 MB, and whoever names these functions has them run elsewhere.
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415

    if not isinstance(schema, dict):
        raise ValueError("a JSON schema is an object")  # noqa: TRY004  what a person typed, not what a caller passed
    if not isinstance(schema.get("$schema", ""), str):
        raise ValueError("$schema is to be text")  # noqa: TRY004  what a person typed, not what a caller passed
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"not a JSON schema: {error.json_path} {error.message}") from error
    for pattern in _patterns(schema):
        Pattern.parse(pattern)
    return schema


def _patterns(schema: Json) -> Iterator[str]:
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _patterns(part)
    if isinstance(schema, dict) and isinstance(pattern := schema.get("pattern"), str):
        yield pattern


def fault(text: str, schema: dict[str, Json]) -> str | None:
    """What in the schema a text does not keep to; None where it keeps to all of it."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415
    from jsonschema.validators import Draft202012Validator, extend, validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    def patterned(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not Pattern(pattern).found_in(instance):
            yield ValidationError("no match")

    dialect = validator_for(schema, default=Draft202012Validator)
    checking = extend(dialect, {"pattern": patterned})  # type: ignore[no-untyped-call]  # its stub says no more
    try:
        document = json.loads(text, parse_constant=_refuse)
        # An empty registry, since the default one would fetch a schema that is referred to from wherever it is.
        error = next(checking(schema, registry=Registry()).iter_errors(document), None)
    except (ValueError, ArithmeticError, RecursionError) as wrong:
        return f"not JSON that can be held against a schema: {type(wrong).__name__}"
    except Unresolvable:
        return "the schema refers to another, which is not in it"
    # The schema's own words: an error's path and message would quote what the service said.
    return None if error is None else "/".join(map(str, error.absolute_schema_path))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
