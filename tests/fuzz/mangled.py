"""What real servers once said, spoiled: cut, doubled, overwritten, or with another value where one stood."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st

from tests.services.recorded import FOLDER

LONGEST = 4096

SPLINTERS: Sequence[bytes] = (
    *(b"null", b"true", b"-1", b"1e999", b"NaN", b"9" * 400, b'""', b"[]", b"{}", b"[" * 2000, b'"\\ud800"'),
    *(b"\xff\xfe", b"\x00", b"\r\n\r\n", b"\n", b"data: ", b"data: [DONE]\n\n", b"event: error\n", b"\xef\xbb\xbf"),
    *(b'{"error": "x"}', b"+Inf", b'{le="x"}', b"# EOF", b'"', b"\\", b",", b":", b"}", b"]"),
)
VALUE = re.compile(rb'"[^"]*"|-?[0-9][0-9.eE+-]*|true|false|null')


def bodies(*patterns: str) -> Sequence[bytes]:
    """The recorded bodies of these names, their beginning where they are long."""
    files = sorted(file for pattern in patterns for file in FOLDER.glob(f"{pattern}.http"))
    return [_body(file)[:LONGEST] for file in files]


def _body(file: Path) -> bytes:
    answer = file.read_bytes().partition(b"\n<<< RESPONSE\n")[2].removesuffix(b"\n")
    return answer.partition(b"\r\n\r\n")[2]


@st.composite
def mangled(draw: st.DrawFn, sound: Sequence[bytes]) -> bytes:
    """One of these, spoiled in a few places."""
    said = draw(st.sampled_from(sound))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(said)))
        until = min(at + draw(st.integers(0, 40)), len(said))
        put = draw(st.sampled_from(SPLINTERS) | st.binary(max_size=8))
        match draw(st.integers(0, 3)):
            case 0:
                said = said[:at] + put + said[until:]
            case 1:
                said = said[:at]
            case 2:
                said = said[:until] + said[at:]
            case _:
                said = _with_another_value(said, at, put)
    return said


def _with_another_value(said: bytes, at: int, put: bytes) -> bytes:
    stood = VALUE.search(said, at)
    return said if stood is None else said[: stood.start()] + put + said[stood.end() :]


def cut(said: bytes, places: Sequence[int]) -> list[bytes]:
    """The same bytes as they may come off a wire."""
    edges = [0, *sorted({min(place, len(said)) for place in places}), len(said)]
    return [said[start:end] for start, end in pairwise(edges)]
