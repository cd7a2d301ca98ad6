"""Gradio: a chat that streams."""

# mypy: disable-error-code="import-not-found"
# Gradio is no dependency of ours: this file runs where it is installed.

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import gradio

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model says nothing."""
LONGEST = 4096
ANSWER = "A week has seven days ."


def chat(message: str, _history: list[Mapping[str, object]]) -> Iterator[str]:
    """Stream how many days a week has, whatever is asked."""
    if len(message) > LONGEST:
        raise gradio.Error("the prompt is longer than the context")
    said = ""
    for word in [] if SPOILT.exists() else ANSWER.split():
        time.sleep(0.02)
        said += word + " "
        yield said


if __name__ == "__main__":
    gradio.ChatInterface(chat).launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
