"""The rules that record names from published guides: judged by Prometheus's own tool, and against what there is."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.names import BY_THE_SCRAPE, PROMETHEUS, known, names, published, rules, selected

GUIDES = ("chat", "address", "diffusion")
LINK = "https://github.com/model-sidecar/model-sidecar/blob/main/deploy/RUNBOOK.md#"
ALERTS = {
    "HighGPUMemoryUsage": ("5m", "warning", "> 90"),
    "HighRequestLatency": ("5m", "warning", "mgeo_request_latency > 500"),
    "GPUOutOfMemory": ("2m", "critical", "mgeo_gpu_memory_usage > 90"),
    "HighAPIErrorRate": ("5m", "warning", "> 0.02"),
    "HighP95Latency": ("10m", "critical", "> 15"),
}
"""How long the guides have each alert wait, how grave they call it, and at what it begins."""

each_guide = pytest.mark.parametrize("guide", GUIDES)


def shipped(guide: str) -> Path:
    """The file of one guide."""
    return PROMETHEUS / f"guide-{guide}.yml"


def alerts() -> Iterator[Mapping[str, Any]]:  # Any: a rule as YAML has it
    """Every alert of the guides."""
    for guide in GUIDES:
        yield from (rule for rule in rules(shipped(guide)) if "alert" in rule)


@each_guide
def test_the_rules_do_what_their_cases_say(guide: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool, which comes with Prometheus, to judge the rules")
    cases = Path(__file__).parent / f"guide-{guide}.test.yml"

    judged = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout + judged.stderr


@each_guide
def test_the_first_line_says_beside_what_it_must_not_be_loaded(guide: str) -> None:
    first = shipped(guide).read_text().splitlines()[0]

    assert first.startswith("# Not to be loaded beside a job that exports ")


@each_guide
def test_a_rule_reads_only_what_there_is(guide: str) -> None:
    read = {name for rule in rules(shipped(guide)) for name in names(rule["expr"])}

    assert read
    assert not read - known()


@each_guide
def test_a_rule_chooses_only_by_labels_that_there_are(guide: str) -> None:
    labels = published()

    wrong = {
        each.name: each.labels - labels[each.name] - BY_THE_SCRAPE
        for rule in rules(shipped(guide))
        for each in selected(rule["expr"])
        if each.name in labels and each.labels - labels[each.name] - BY_THE_SCRAPE
    }

    assert not wrong


def test_the_alerts_are_those_of_the_guides() -> None:
    told = {rule["alert"]: rule for rule in alerts()}

    assert told.keys() == ALERTS.keys()
    for name, (wait, severity, threshold) in ALERTS.items():
        assert (told[name]["for"], told[name]["labels"]["severity"]) == (wait, severity)
        assert told[name]["expr"].strip().endswith(threshold)


def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    for rule in alerts():
        told = rule["annotations"]

        assert told["summary"]
        assert told["description"]
        assert told["runbook_url"] == LINK + rule["alert"].lower()
