"""What is read out of the JSON in which services tell their load."""

import json

import pytest

from exporter.figures import Form
from exporter.forms import samples
from exporter.wire import Failed
from tests.services.recorded import body


def test_a_recorded_slot_that_is_idle_tells_its_last_task_and_nothing_of_it() -> None:
    told = {(said.name, said.labels.get("slot")): said.value for said in samples(_slots(), Form.SLOTS, ())}

    assert told == {
        ("slots.processing", None): 0,
        ("slots.kv_cache_usage", None): 0,
        ("slots.task", "0"): 75,
        ("slots.prompt", "0"): 0,
        ("slots.decoded", "0"): 0,
        ("slots.task", "1"): 57,
        ("slots.prompt", "1"): 0,
        ("slots.decoded", "1"): 0,
    }


def test_a_slot_that_works_tells_what_it_read_and_wrote() -> None:
    [first, other] = json.loads(_slots())
    busy = {"is_processing": True, "n_prompt_tokens_processed": 18, "next_token": [{"n_decoded": 8}]}

    told = {
        (said.name, said.labels.get("slot")): said.value
        for said in samples(json.dumps([{**first, **busy}, other]).encode(), Form.SLOTS, ())
    }

    assert (told["slots.task", "0"], told["slots.prompt", "0"], told["slots.decoded", "0"]) == (75, 18, 8)
    assert told["slots.kv_cache_usage", None] == 26 / 1024
    assert told["slots.processing", None] == 1


@pytest.mark.parametrize("form", [form for form in Form if form is not Form.PAGE])
@pytest.mark.parametrize("text", ["null", "7", '"slots"', "[", "\N{SNOWMAN}"])
def test_what_is_no_document_of_its_form_is_invalid(form: Form, text: str) -> None:
    with pytest.raises(Failed, match="invalid"):
        samples(text.encode(), form, ())


def _slots() -> bytes:
    return body("llama-server-0.7.0/slots_after")
