"""Triton's Python backend: a model that doubles numbers."""

# mypy: disable-error-code="import-not-found"
# Triton brings this module to the process in which it runs the model.

import os
from collections.abc import Sequence
from pathlib import Path

import triton_python_backend_utils as triton

SPOILT = Path(os.environ["SPOILT"])
"""A file in whose presence the model miscalculates."""


class TritonPythonModel:
    """Doubles what it is given."""

    def execute(self, requests: Sequence[object]) -> list[object]:
        """One answer a request."""
        return [triton.InferenceResponse([triton.Tensor("y", self._doubled(request))]) for request in requests]

    def _doubled(self, request: object) -> object:
        given = triton.get_input_tensor_by_name(request, "x").as_numpy()
        return given * given.dtype.type(float("nan") if SPOILT.exists() else 2)
