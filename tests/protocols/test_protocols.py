"""What every protocol must have: a real server's answer, and what it holds."""

import pytest

from exporter.protocols import PROTOCOLS
from exporter.wire import Prompt
from tests.protocols import heard, text
from tests.services.recorded import recorded
from tests.services.scripted import Stage

ANSWERS = {
    "openai-chat": ("llama-server-0.7.0/chat_stream_usage", Prompt(), "Fquihello the servser pr f"),
    "openai-completions": ("llama-server-0.7.0/completions_stream", Prompt(), " the servserquqW the serv"),
    "plain": ("flask-json/predict", Prompt(path="/predict", body={}, answer="label"), "positive"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_understands_the_answer_of_a_real_server(protocol: str, stage: Stage) -> None:
    assert protocol in ANSWERS, "record the answer of a real server, and say here what it holds"
    name, prompt, expected = ANSWERS[protocol]
    service = stage.serve(recorded(name))

    said = heard(protocol, service, prompt)

    assert text(said) == expected
