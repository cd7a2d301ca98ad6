"""A guide's address parser: Flask under gunicorn, each worker with a model of its own."""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# Flask is no dependency of ours: this file runs where it is installed.

import os
import time
from pathlib import Path

import psutil
from flask import Flask, Response, jsonify, request

Parsed = dict[str, str]

BREAK_ONE = os.environ.get("BREAK_ONE_WORKER")
"""A file whose presence breaks the one worker that takes it away."""
SLOW = os.environ.get("SLOW_WORKERS")
"""A file in whose presence every address takes a second."""

app = Flask(__name__)


class Model:
    """Finds the parts of an address; a stub that knows where they end."""

    ENDS = (("province", "省"), ("city", "市"), ("district", "区"))

    def __init__(self) -> None:
        self.broken = False

    def parse(self, text: str) -> Parsed:
        """The parts of an address, the rest as its detail."""
        if BREAK_ONE and not self.broken:
            self.broken = _taken(Path(BREAK_ONE))
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        time.sleep(1 if SLOW and Path(SLOW).exists() else 0.01)
        parts = {}
        for name, end in self.ENDS:
            part, found, rest = text.partition(end)
            parts[name], text = (part + found, rest) if found else ("", text)
        return {**parts, "detail": text}


def _taken(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


model = Model()


@app.post("/parse")
def parse() -> Response | tuple[Response, int]:
    """The parts of an address."""
    try:
        return jsonify(model.parse(request.get_json()["text"]))
    except Exception as error:  # noqa: BLE001  as the guide has it, whatever goes wrong becomes a body
        return jsonify({"error": str(error)}), 500


@app.get("/health")
def health() -> Response:
    """What the guide takes for health: it says active whatever the model does."""
    return jsonify(
        {
            "cpu_usage": psutil.cpu_percent(),
            "memory_usage": psutil.virtual_memory().percent,
            "gpu_available": False,
            "service_status": "active",
        }
    )
