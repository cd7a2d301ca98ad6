"""LitServe with an API of its own: one number in, its square out."""

# mypy: disable-error-code="import-not-found,misc"
# LitServe is no dependency of ours: this file runs where it is installed.

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import litserve
from fastapi import HTTPException

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model miscalculates."""
LARGEST = 10**6


class Square(litserve.LitAPI):
    """Squares a number."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: Mapping[str, float]) -> float:
        """The number that is asked about."""
        if request["input"] > LARGEST:
            raise HTTPException(413, "the number is too large")
        return request["input"]

    def predict(self, number: float) -> float:
        """Its square."""
        return -number if SPOILT.exists() else number**2

    def encode_response(self, square: float) -> dict[str, float]:
        """The square as the answer has it."""
        return {"output": square}


if __name__ == "__main__":
    litserve.LitServer(Square(), accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, num_api_servers=1
    )
