"""A guide's diffusion API: FastAPI, instrumented, with a sleep that stops all else and errors that claim success."""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# FastAPI and its instrumentator are no dependencies of ours: this file runs where they are installed.

import base64
import io
import os
import random
import time
from pathlib import Path

from fastapi import FastAPI
from PIL import Image
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel

SHORTEST, LONGEST = map(float, os.environ.get("IMAGE_SECONDS", "5 15").split())
BLACK = os.environ.get("BLACK_IMAGES")
"""A file in whose presence the model draws black, as diffusers does once its safety checker objects."""
SIDE = 64

chance = random.Random(os.environ.get("IMAGE_SEED"))
app = FastAPI(title="Diffusion API")
Instrumentator().instrument(app).expose(app)


class Wish(BaseModel):
    """What is to be drawn."""

    prompt: str


def draw() -> bytes:
    """A picture as PNG; a stub that draws a slope of colour."""
    if BLACK and Path(BLACK).exists():
        picture = Image.new("RGB", (SIDE, SIDE))
    else:
        picture = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


@app.post("/generate", response_model=None)
async def generate(_wish: Wish) -> dict[str, str] | tuple[dict[str, str], int]:
    """Draw, and fail one time in twenty."""
    time.sleep(chance.uniform(SHORTEST, LONGEST))  # noqa: ASYNC251  the guide's first fault: nobody else is answered
    if chance.random() < 0.05:
        return {"error": "Internal Server Error"}, 500  # its second: FastAPI sends a list, with status 200
    return {"image": base64.b64encode(draw()).decode()}
