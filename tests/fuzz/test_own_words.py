"""Pages, lists and replies in which real services tell of themselves, spoiled: there are figures, or a failure."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite, isnan

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.engines import ENGINES, recognised
from exporter.figures import Form
from exporter.forms import samples
from exporter.normal import SERIES_LIMIT, Figures
from exporter.vocabularies import VOCABULARIES
from exporter.wire import Failed
from tests.fuzz.mangled import SPLINTERS, bodies, mangled
from tests.services import pages
from tests.services.recorded import FOLDER

WRITTEN = [text.encode() for name, text in vars(pages).items() if name.isupper() and isinstance(text, str)]
PAGES = [*WRITTEN, *bodies("*/*metrics*")]
LISTS = [*bodies("*/*slots*", "*/get_props", "*/*queue*"), b'{"loads": [{"dp_rank": 0, "num_running_reqs": 2}]}']
HOST = "http://service"

Reply = tuple[int, Mapping[str, str], bytes]


@pytest.mark.parametrize("engine", sorted(VOCABULARIES))
@settings(deadline=None, max_examples=10)
@given(looks=st.lists(mangled(PAGES), min_size=1, max_size=3), spreads=st.booleans())
def test_whatever_a_page_becomes_its_counters_only_grow(engine: str, looks: Sequence[bytes], *, spreads: bool) -> None:
    vocabulary, figures = VOCABULARIES[engine], Figures()

    for body in looks:
        before = figures
        with suppress(Failed):
            seen = samples(body, Form.PAGE, vocabulary.wanted(spreads=spreads))
            figures = figures.plus(vocabulary, seen, spreads=spreads)
        grown = {proof: value - before.proven.get(proof, 0.0) for proof, value in figures.proven.items()}

        assert all(growth >= 0 and isfinite(growth) for growth in grown.values())
        assert len(figures.now) <= SERIES_LIMIT


@settings(deadline=None, max_examples=50)
@given(body=mangled(LISTS) | st.sampled_from(SPLINTERS), form=st.sampled_from(list(Form)))
def test_whatever_a_list_becomes_its_samples_are_numbers(body: bytes, form: Form) -> None:
    with suppress(Failed):
        assert all(float(each.value) == each.value or isnan(each.value) for each in samples(body, form, ()))


def _replies(folder: str) -> Mapping[str, Reply]:
    """What a real service answered to each GET."""
    files = sorted((FOLDER / "recognised" / folder).glob("*.http"))
    return dict(_reply(file.read_bytes()) for file in files)


def _reply(exchange: bytes) -> tuple[str, Reply]:
    asked, _, answer = exchange.removeprefix(b">>> REQUEST\n").partition(b"\n<<< RESPONSE\n")
    head, _, body = answer.removesuffix(b"\n").partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    kept = {name: value for name, value in headers.items() if name not in {"content-length", "transfer-encoding"}}
    return asked.split(b" ")[1].decode(), (int(line.split()[1]), kept, body)


REAL = {folder.name: _replies(folder.name) for folder in sorted((FOLDER / "recognised").iterdir())}


@pytest.mark.parametrize("service", REAL)
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_a_service_whose_replies_are_spoiled_is_some_service_or_none(service: str, data: st.DataObject) -> None:
    spoiled = {
        path: (data.draw(st.sampled_from([status, 200, 401, 500])), headers, data.draw(mangled([body])))
        for path, (status, headers, body) in REAL[service].items()
    }

    def answer(request: httpx.Request) -> httpx.Response:
        status, headers, body = spoiled.get(request.url.path, (404, {}, b""))
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    async def look() -> object:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url=HOST) as client:
            return await recognised(client, {}, protocol=None, model=None)

    found = asyncio.run(look())

    assert getattr(found, "engine", "unknown") in ENGINES
