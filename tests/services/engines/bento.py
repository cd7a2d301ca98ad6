"""BentoML: a classifier of texts."""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# BentoML is no dependency of ours: this file runs where it is installed.

import os
from pathlib import Path
from typing import Annotated

import bentoml
from annotated_types import MaxLen

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model finds no words."""


@bentoml.service(workers=1)
class Classifier:
    """Says what a text is about."""

    @bentoml.api
    def classify(self, text: Annotated[str, MaxLen(4096)]) -> dict[str, str]:
        """The label of a text."""
        return {"label": "" if SPOILT.exists() else "sports" if "match" in text else "politics"}
