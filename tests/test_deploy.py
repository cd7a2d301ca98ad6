"""What is shipped for Prometheus, judged by Prometheus's own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.app import CATALOG

RULES = Path(__file__).parent.parent / "deploy" / "prometheus"
CASES = Path(__file__).parent / "deploy"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool, which comes with Prometheus, to judge the rules"
)


@needs_promtool
def test_the_share_of_the_synthetic_prompts_is_taken_off() -> None:
    judged = subprocess.run(
        ["promtool", "test", "rules", CASES / "own-share.test.yml"], capture_output=True, text=True, check=False
    )

    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_rule_reads_only_metrics_that_there_are() -> None:
    text = (RULES / "own-share.yml").read_text()
    names = {entry.name for entry in CATALOG.reference()}

    read = {word for word in text.replace("(", " ").replace("[", " ").split() if word.startswith("model_")}

    assert read
    assert read <= names
