"""What Ollama says of the models in its memory is understood, whatever stands in it."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engines import Skip
from exporter.engines.residents import resident_in_ollama
from exporter.engines.row import Reply
from exporter.wire import Recognition, Sight

DATE = "Sun, 22 Nov 2026 08:00:00 GMT"
EIGHT = 1795334400.0
CHAT = Recognition(engine="ollama", version="0.33.0", model="tiny", protocol="ollama")
EMBED = Recognition(engine="ollama", version="0.33.0", model="tiny", protocol="ollama-embed")


def seen(found: Recognition = CHAT, *, date: str | None = DATE, **told: object) -> Sight:
    """What is seen where the model is in memory and these are told of it."""
    headers: Mapping[str, str] = {} if date is None else {"date": date}
    document = json.loads(json.dumps({"models": [{"name": "other"}, {"name": "tiny:latest", **told}]}))
    return resident_in_ollama(Reply(status=200, headers=headers, document=document, came=EIGHT), found)


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-22T08:04:00Z",
        "2026-11-22T08:04:00.000000000Z",
        "2026-11-22T09:04:00+01:00",
        "2026-11-22T03:04:00.0-05:00",
    ],
)
def test_an_end_is_read_as_go_writes_it(written: str) -> None:
    assert seen(expires_at=written).until == EIGHT + 240


@pytest.mark.parametrize("written", ["2318-03-03T08:00:00.123456789Z", "2026-11-22T07:50:00Z", "0001-01-01T00:00:00Z"])
def test_a_model_that_stays_or_is_busy_has_no_end(written: str) -> None:
    assert seen(expires_at=written) == Sight()


@pytest.mark.parametrize("written", [None, 7, "soon", "2026-11-22T08:04:00", "9999-99-99T00:00:00Z"])
def test_an_end_that_cannot_be_read_is_none(written: object) -> None:
    assert seen(expires_at=written) == Sight()


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("2026-11-22T08:00:04.9Z", Skip.UNLOADED),
        ("2026-11-22T07:59:55Z", Skip.UNLOADED),
        ("2026-11-22T08:00:05Z", None),
    ],
)
def test_a_model_that_may_be_gone_before_a_prompt_is_there_is_not_asked(written: str, reason: Skip | None) -> None:
    assert seen(expires_at=written).skip == reason


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sun, 22 Nov 2026 08:00:00 -0000"])
def test_without_its_clock_ours_tells_what_is_left(date: str | None) -> None:
    assert seen(date=date, expires_at="2026-11-22T08:00:04Z").skip == Skip.UNLOADED


@pytest.mark.parametrize(
    ("found", "context", "sent"),
    [(CHAT, 1024, True), (CHAT, 8192, True), (EMBED, 8192, True), (EMBED, 2048, True), (EMBED, 512, False)],
)
def test_the_context_goes_with_the_prompt_where_it_is_what_was_asked_for(
    found: Recognition,
    context: int,
    sent: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    assert seen(found, context_length=context).fields == ({"options": {"num_ctx": context}} if sent else {})


@pytest.mark.parametrize("version", ["", "0.0.0", "0.29.9", "0.9.6", "v1", "latest"])
def test_of_a_version_that_means_another_context_or_is_not_known_none_is_sent(version: str) -> None:
    found = Recognition(engine="ollama", version=version, model="tiny", protocol="ollama")

    assert seen(found, context_length=8192).fields == {}


@pytest.mark.parametrize("context", [None, 0, -1, True, "8192", 8192.0])
def test_a_context_that_is_none_is_not_sent(context: object) -> None:
    assert seen(context_length=context).fields == {}


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_words_for_a_time_are_one_or_none(date: str, written: str) -> None:
    assert isinstance(seen(date=date, expires_at=written), Sight)
