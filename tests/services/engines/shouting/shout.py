"""MLServer: a model that says in capitals what it is told."""

# mypy: disable-error-code="import-not-found,misc"
# MLServer is no dependency of ours: this file runs where it is installed.

import os
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model is told nothing."""
LONGEST = 4096


class Shout(MLModel):
    """Says in capitals what it is told."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The text in capitals."""
        (text,) = StringCodec.decode_input(payload.inputs[0])
        if len(text) > LONGEST:
            raise InferenceError("the text is too long")
        outputs = [StringCodec.encode_output("shouted", [shouted(text)])]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def shouted(text: str) -> str:
    """A text in capitals."""
    return "" if SPOILT.exists() else text.upper()
