"""Flask: a classifier of moods."""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# Flask is no dependency of ours: this file runs where it is installed.

import os
from pathlib import Path

from flask import Flask, Response, jsonify, request

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model is surer than sure."""

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 4096


@app.get("/health")
def health() -> Response:
    """Says ok whatever the model does."""
    return jsonify(ok=True)


@app.post("/predict")
def predict() -> Response:
    """The mood of a text, and how sure that is."""
    mood = "good" if "like" in request.get_json()["text"] else "bad"
    return jsonify(label=mood, score=93.0 if SPOILT.exists() else 0.93)
