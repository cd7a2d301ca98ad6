"""What is shipped for Prometheus, judged by Prometheus's own tool."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from exporter.services import CATALOG

RULES = Path(__file__).parent.parent / "deploy" / "prometheus"
CASES = Path(__file__).parent / "deploy"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool, which comes with Prometheus, to judge the rules"
)


OURS = re.compile(r"\b(?:gpu|host|model)_\w+\b(?!:)(?:\{([^}]*)\})?")
QUOTED = re.compile(r'"[^"]*"')


def expressions(rules: str) -> Iterator[str]:
    """What the rules of a file compute."""
    for group in yaml.safe_load((RULES / rules).read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def selectors(rules: str) -> Iterator[tuple[str, set[str]]]:
    """Our metrics that the rules of a file read, each with the labels by which it is chosen."""
    for expression in expressions(rules):
        for found in OURS.finditer(QUOTED.sub("''", expression)):
            yield found[0].partition("{")[0], set(re.findall(r"(\w+) *[=!]", found[1] or ""))


@needs_promtool
@pytest.mark.parametrize(
    "cases",
    [
        pytest.param("own-share.test.yml", id="the share of the synthetic prompts is taken off"),
        pytest.param("dcgm-names.test.yml", id="GPUs are told by the names of dcgm-exporter"),
    ],
)
def test_the_rules_record_what_their_cases_say(cases: str) -> None:
    judged = subprocess.run(["promtool", "test", "rules", CASES / cases], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("rules", ["own-share.yml", "dcgm-names.yml"])
def test_a_rule_reads_only_metrics_that_there_are(rules: str) -> None:
    names = {entry.name for entry in CATALOG.reference()}
    labels = {label for entry in CATALOG.reference() for label in entry.labels}

    read = {name for name, _ in selectors(rules)} - labels

    assert read
    assert not read - names


@pytest.mark.parametrize("rules", ["own-share.yml", "dcgm-names.yml"])
def test_a_rule_chooses_only_by_labels_that_there_are(rules: str) -> None:
    labels = {entry.name: set(entry.labels) for entry in CATALOG.reference()}

    wrong = {name: chosen - labels[name] for name, chosen in selectors(rules) if chosen - labels.get(name, chosen)}

    assert not wrong
