"""A guide's chat: Gradio streams what a reasoning model says, and counts in the same process, at another port."""

# mypy: disable-error-code="import-not-found"
# Gradio is no dependency of ours: this file runs where it is installed.

import os
import time
from collections.abc import Iterator, Mapping

import gradio
from prometheus_client import Counter, Gauge, Histogram, start_http_server

THOUGHTS = "The user wants to know how many months a year has . From January to December I count twelve ."
ANSWER = "A year has 12 months , from January to December ."
PIECE = float(os.environ.get("CHAT_PIECE_SECONDS", "0.02"))

REQUESTS = Counter("model_requests_total", "Requests to the model.")
DURATION = Histogram("model_request_duration_seconds", "Time that a request took.")
SPEED = Gauge("model_tokens_per_second", "Tokens per second of the last request.")

Message = Mapping[str, object]


def generate() -> Iterator[tuple[str, str]]:
    """What the model has thought and said so far, after each token; a stub."""
    thought = said = ""
    for token in THOUGHTS.split():
        time.sleep(PIECE)
        thought += token + " "
        yield thought, said
    for token in ANSWER.split():
        time.sleep(PIECE)
        said += token + " "
        yield thought, said


def respond(_message: str, _history: list[Message]) -> Iterator[list[Message]]:
    """Stream the thoughts under a title of their own, then the answer."""
    REQUESTS.inc()
    begun = time.time()
    tokens = 0
    for thought, said in generate():
        tokens += 1
        messages: list[Message] = [
            {"role": "assistant", "content": thought, "metadata": {"title": "Thinking"}},
            {"role": "assistant", "content": said},
        ]
        yield messages if said else messages[:1]
    # As the guide has it: whoever stops listening before the end is never timed.
    DURATION.observe(time.time() - begun)
    SPEED.set(tokens / (time.time() - begun))


if __name__ == "__main__":
    start_http_server(int(os.environ.get("METRICS_PORT", "8000")), addr="127.0.0.1")
    gradio.ChatInterface(respond).launch(server_name="127.0.0.1")
