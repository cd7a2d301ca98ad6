"""What every protocol must have: a real server's answer, and what it holds."""

import pytest

from exporter.protocols import PROTOCOLS
from exporter.wire import Prompt
from tests.protocols import heard, text
from tests.services.recorded import recorded
from tests.services.scripted import Stage

ANSWERS = {
    "openai-chat": (["llama-server-0.7.0/chat_stream_usage"], Prompt(), "Fquihello the servser pr f"),
    "openai-completions": (["llama-server-0.7.0/completions_stream"], Prompt(), " the servserquqW the serv"),
    "openai-embeddings": (["llama-server-0.7.0/embeddings"], Prompt(), ""),
    "openai-images": (["fastapi-image/openai_images"], Prompt(), ""),
    "rerank": (["llama-server-0.7.0/rerank"], Prompt(documents=("hi", "The giant panda is a bear.")), ""),
    "tgi": (["tgi-from-reference/generate_stream"], Prompt(), " Hello, wörld!"),
    "ollama": (["ollama-from-reference/chat"], Prompt(), "Hello, wörld!"),
    "ollama-embed": (["ollama-from-reference/embed"], Prompt(), ""),
    "gradio": (
        ["gradio-6.31.0/call_chat_post", "gradio-6.31.0/call_chat_get"],
        Prompt(text="hello", path="chat", body={"data": ["${text}"]}),
        "you said hello and here are some tokens ",
    ),
    "kserve": (["triton-2.51/infer_cls"], Prompt(model="cls", body={}), "positive"),
    "triton-generate": (["triton-2.51/generate_stream"], Prompt(model="talk"), "it is four of them "),
    "tei": (["tei-from-reference/embed"], Prompt(), ""),
    "plain": (["flask-json/predict"], Prompt(path="/predict", body={}, answer="label"), "positive"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_understands_the_answer_of_a_real_server(protocol: str, stage: Stage) -> None:
    assert protocol in ANSWERS, "record the answer of a real server, and say here what it holds"
    names, prompt, expected = ANSWERS[protocol]
    routes = dict(route for name in names for route in recorded(name).items())
    service = stage.serve(routes)

    said = heard(protocol, service, prompt)

    assert text(said) == expected
    assert any(delta.spoken for delta in said)
