"""What tools can judge of the code: its layout, its habits and its types."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("ruff", "check", "."), id="no habit that ruff knows to be bad"),
        pytest.param(("ruff", "format", "--check", "."), id="one layout"),
        pytest.param(("mypy",), id="strictly typed"),
    ],
)
def test_the_code_is_as_its_tools_want_it(command: tuple[str, ...]) -> None:
    judged = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout + judged.stderr
