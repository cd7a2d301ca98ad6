"""Whether JSON keeps to a schema."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.checks.schema import fault, parse
from exporter.paths import Json

ADDRESS: dict[str, Json] = {
    "type": "object",
    "required": ["city", "code"],
    "properties": {"city": {"type": "string", "minLength": 1}, "code": {"type": "string", "pattern": "^[0-9]{6}$"}},
}


def test_a_document_keeps_to_its_schema() -> None:
    assert fault('{"city": "北京市", "code": "100000"}', parse(ADDRESS)) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"city": "", "code": "100000"}', "properties/city/minLength"),
        ('{"city": "北京市", "code": "none"}', "properties/code/pattern"),
        ('{"city": "北京市"}', "required"),
        ("[]", "type"),
        ("null", "type"),
        ("", "not JSON that can be held against a schema: JSONDecodeError"),
        ('{"city": "Par', "not JSON that can be held against a schema: JSONDecodeError"),
        ("NaN", "not JSON that can be held against a schema: ValueError"),
        ("[" * 60000, "not JSON that can be held against a schema: RecursionError"),
    ],
)
def test_what_does_not_keep_to_it_is_told_by_the_schema_s_words_alone(text: str, found: str) -> None:
    assert fault(text, parse(ADDRESS)) == found


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param({"type": "text"}, id="a type that there is not"),
        pytest.param({"minimum": "1"}, id="a number that is none"),
        pytest.param({"properties": {"code": {"pattern": "(?=a)"}}}, id="a pattern that RE2 does not know"),
        pytest.param({"allOf": [{"pattern": "("}]}, id="a pattern that is none"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: Json) -> None:
    with pytest.raises(ValueError, match=r"JSON schema|RE2"):
        parse(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "string"}]},
    ],
)
def test_a_schema_is_read_by_the_draft_that_it_names(schema: dict[str, Json]) -> None:
    assert fault('["a"]', parse(schema)) is None
    assert fault("[1]", parse(schema)) is not None


def test_a_schema_that_refers_to_another_is_not_fetched() -> None:
    assert fault("1", {"$ref": "http://127.0.0.1:9/schema"}) == "the schema refers to another, which is not in it"


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    assert fault("1", {"$ref": "#"}) == "not JSON that can be held against a schema: RecursionError"


def test_the_worst_pattern_is_through_a_long_text_before_anyone_notices() -> None:
    assert fault(json.dumps("a" * 60000 + "!"), parse({"pattern": "^(a+)+$"})) == "pattern"


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)
schemas = st.sampled_from(
    [
        ADDRESS,
        {"multipleOf": 0.1},
        {"multipleOf": 3},
        {"minimum": 1.5, "exclusiveMaximum": 7},
        {"uniqueItems": True},
        {"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"type": "number"}, "maxProperties": 2},
        {"anyOf": [{"type": "array", "contains": {"const": 1}}, {"pattern": "a"}], "unevaluatedItems": False},
        {"propertyNames": {"pattern": "^[ab]$"}, "patternProperties": {"^a": {"type": "string"}}},
        {"enum": [1, "a", None, [1], {"a": 1}]},
    ]
)


@settings(deadline=None)
@given(document=documents, schema=schemas)
def test_any_document_keeps_to_a_schema_or_does_not(document: Json, schema: dict[str, Json]) -> None:
    assert isinstance(fault(json.dumps(document), parse(schema)), str | None)


@given(text=st.text())
def test_any_text_is_json_or_none(text: str) -> None:
    assert isinstance(fault(text, ADDRESS), str | None)
