"""The guide's diffusion API without its two faults: errors have their status, and edges reach beyond the threshold."""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# FastAPI and its instrumentator are no dependencies of ours: this file runs where they are installed.

import base64
import io
import itertools

from fastapi import FastAPI, HTTPException
from PIL import Image
from prometheus_fastapi_instrumentator import Instrumentator, metrics
from pydantic import BaseModel

app = FastAPI(title="Diffusion API")
Instrumentator().add(metrics.default(latency_lowr_buckets=(1, 5, 10, 15, 20, 30))).instrument(app).expose(app)
asked = itertools.count(1)


class Wish(BaseModel):
    """What is to be drawn."""

    prompt: str


@app.post("/generate")
def generate(_wish: Wish) -> dict[str, str]:
    """Draw at once, and fail every tenth time."""
    if next(asked) % 10 == 0:
        raise HTTPException(status_code=500, detail="Internal Server Error")
    written = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(written, "PNG")
    return {"image": base64.b64encode(written.getvalue()).decode()}
