"""The Pythons that have real model servers, and a place for these to listen."""

import os
import subprocess

import pytest

from tests.daemon import PATIENCE

PYTHONS = [python for python in os.environ.get("SERVERS_PYTHON", "").split(":") if python]
MISSING = "SERVERS_PYTHON names no Pythons, with colons between them, that have model servers to be watched"


def python_with(*packages: str) -> str:
    """The first Python of SERVERS_PYTHON that has all these packages."""
    missing = f"import sys, importlib.util as it; sys.exit(not all(map(it.find_spec, {packages})))"
    for python in PYTHONS:
        if subprocess.run([python, "-c", missing], check=False, timeout=PATIENCE).returncode == 0:
            return python
    pytest.skip(f"no Python that SERVERS_PYTHON names, a list with colons, has {', '.join(packages)}")
