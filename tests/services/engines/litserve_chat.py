"""LitServe with its OpenAI specification: a chat that streams."""

# mypy: disable-error-code="import-not-found,misc"
# LitServe is no dependency of ours: this file runs where it is installed.

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import litserve
from fastapi import HTTPException
from litserve.specs.openai import ChatCompletionRequest

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model repeats itself."""
LONGEST = 4096
ANSWER = "A week has seven days ."
NONSENSE = "! " * 16


class Chat(litserve.LitAPI):
    """Says how many days a week has, whatever it is asked."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def predict(self, request: ChatCompletionRequest) -> Iterator[str]:
        """The answer, word by word."""
        if sum(len(message.content) for message in request.messages) > LONGEST:
            raise HTTPException(400, "the prompt is longer than the context")
        for word in (NONSENSE if SPOILT.exists() else ANSWER).split():
            time.sleep(0.02)
            yield word + " "


if __name__ == "__main__":
    chat = Chat(spec=litserve.OpenAISpec())
    litserve.LitServer(chat, accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, num_api_servers=1
    )
