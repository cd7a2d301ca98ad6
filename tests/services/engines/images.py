"""FastAPI, instrumented: images as OpenAI's API has them."""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# FastAPI and its instrumentator are no dependencies of ours: this file runs where they are installed.

import base64
import io
import os
from pathlib import Path

from fastapi import FastAPI
from PIL import Image
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel, Field

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model draws black."""

app = FastAPI(title="Images")
Instrumentator().instrument(app).expose(app)


class Wish(BaseModel):
    """What is to be drawn."""

    prompt: str = Field(max_length=4096)


@app.get("/health")
def health() -> dict[str, str]:
    """Says ok whatever the model does."""
    return {"status": "ok"}


@app.post("/v1/images/generations")
def generate(_wish: Wish) -> dict[str, list[dict[str, str]]]:
    """Draw a slope of colour."""
    slope = Image.linear_gradient("L").resize((64, 64))
    written = io.BytesIO()
    (Image.new("L", slope.size) if SPOILT.exists() else slope).save(written, "PNG")
    return {"data": [{"b64_json": base64.b64encode(written.getvalue()).decode()}]}
