"""Where a value stands in a JSON document."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.paths import Json, Path

DOCUMENT: Json = {
    "data": [{"id": "tiny", "n": 1}, {"id": "large", "n": 2}],
    "nested": {"deep": {"er": [10, 20, 30]}},
    "a key": "with a blank",
    "0": "a key that is a number",
    "-1": "a key that is a negative number",
    "nothing": None,
    "no": False,
    "empty": [],
}


def values(path: str, document: Json = DOCUMENT) -> list[Json]:
    return Path.parse(path).values(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.0.id", "tiny"),
        ("data.1.id", "large"),
        ("data.-1.id", "large"),
        ("data.-2.id", "tiny"),
        ("nested.deep.er.2", 30),
        ("nested.deep", {"er": [10, 20, 30]}),
        ("a key", "with a blank"),
        ("0", "a key that is a number"),
        ("-1", "a key that is a negative number"),
        ("nothing", None),
        ("no", False),
        ("empty", []),
    ],
)
def test_a_dotted_path_leads_through_keys_and_indexes(path: str, value: Json) -> None:
    assert values(path) == [value]


@pytest.mark.parametrize(
    "path",
    [
        "missing",
        "data.2",
        "data.-3",
        "data.id",
        "data.0.id.0",
        "nothing.more",
        "no.more",
        "empty.0",
        "data.+1",
        "data.1_0",
    ],
)
def test_a_dotted_path_that_leads_nowhere_finds_nothing(path: str) -> None:
    assert values(path) == []


@pytest.mark.parametrize("document", [None, 0, False, "", "text", [], {}])
def test_nothing_stands_within_what_holds_nothing(document: Json) -> None:
    assert values("a.b", document) == []
    assert values("$.a.b", document) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.data[0].id", ["tiny"]),
        ("$['a key']", ["with a blank"]),
        ("$.data[-1].id", ["large"]),
        ("$.data[*].n", [1, 2]),
        ("$.data[?@.n > 1].id", ["large"]),
        ("$.nested.deep.er[0:2]", [10, 20]),
        ("$..er[2]", [30]),
        ("$.nothing", [None]),
        ("$.missing", []),
        ("$.data[7]", []),
    ],
)
def test_a_path_from_the_root_is_read_by_rfc_9535(path: str, found: list[Json]) -> None:
    assert values(path) == found


@pytest.mark.parametrize("document", [None, 0, 7, False, "", "text", "[1]", [], {}, [1]])
def test_the_root_is_the_document_itself(document: Json) -> None:
    assert values("$", document) == [document]


@pytest.mark.parametrize("path", ["", ".", ".a", "a.", "a..b"])
def test_a_dotted_path_with_an_empty_part_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="empty part"):
        Path.parse(path)


@pytest.mark.parametrize("path", ["$.", "$[", "$.data[0", "$data", "$.data[?]", "$$", "$.a b", "$.~a"])
def test_a_path_from_the_root_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="RFC 9535"):
        Path.parse(path)


def nested(depth: int) -> Json:
    document: Json = 1
    for _ in range(depth):
        document = {"a": document}
    return document


@pytest.mark.parametrize(
    ("path", "document"),
    [
        pytest.param("--1", [1, 2], id="two signs"),
        pytest.param("9" * 5000, [1, 2], id="a number too long for a number"),
        pytest.param("$..b", nested(300), id="deeper than a search goes"),
        pytest.param("$.a", "not JSON", id="a text"),
        pytest.param("$[0]", "[1]", id="a text that holds JSON"),
    ],
)
def test_what_a_document_cannot_answer_finds_nothing(path: str, document: Json) -> None:
    assert values(path, document) == []


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab0"), inner, max_size=3),
    max_leaves=8,
)
dotted = st.lists(st.text("ab01-", min_size=1, max_size=2), min_size=1, max_size=4).map(".".join)
from_the_root = st.text("$.[]*?@'ab01-:,", min_size=1, max_size=8)


@settings(deadline=None)
@given(path=dotted | from_the_root, document=documents)
def test_a_path_that_was_accepted_is_an_error_in_no_document(path: str, document: Json) -> None:
    try:
        accepted = Path.parse(path)
    except ValueError:
        return

    assert isinstance(accepted.values(document), list)
