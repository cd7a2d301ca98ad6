"""The rules that are shipped: judged by Prometheus's own tool, complete in their tests, and told in their README."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.names import BY_THE_SCRAPE, PROMETHEUS, known, names, published, rules, selected

CASES = Path(__file__).parent / "rules"
README = PROMETHEUS / "README.md"
RUNBOOK = PROMETHEUS.parent / "RUNBOOK.md"
LINK = "https://github.com/model-sidecar/model-sidecar/blob/main/deploy/RUNBOOK.md#"
OURS = ("recording.yml", "alerts.yml", "gpu-alerts.yml", "exporter-alerts.yml", "host-alerts.yml")
BEGIN, END = "<!-- alerts -->\n", "<!-- end of alerts -->\n"

Moments = Sequence[tuple[float, int]]
"""How many of one alert fire at which second of a case."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool, which comes with Prometheus, to judge the rules"
)


@cache
def alerts() -> Mapping[str, Mapping[str, Any]]:  # Any: a rule as YAML has it
    """Every alert that is shipped here, by its name."""
    return {rule["alert"]: rule for file in OURS for rule in rules(PROMETHEUS / file) if "alert" in rule}


@cache
def expectations() -> Mapping[str, Sequence[Moments]]:
    """What the cases say of each alert: how many fire, and when, in order."""
    found: dict[str, list[Moments]] = {}
    for file in sorted(CASES.glob("*.test.yml")):
        for case in yaml.safe_load(file.read_text())["tests"]:
            asked = case["alert_rule_test"]
            for alert in {each["alertname"] for each in asked}:
                moments = [(seconds(e["eval_time"]), len(e["exp_alerts"])) for e in asked if e["alertname"] == alert]
                found.setdefault(alert, []).append(sorted(moments))
    return found


def seconds(duration: str) -> float:
    """A duration as Prometheus writes it."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([dhms])", duration))


@needs_promtool
@pytest.mark.parametrize("file", sorted(file.name for file in CASES.glob("*.test.yml")))
def test_the_rules_do_what_their_cases_say(file: str) -> None:
    judged = subprocess.run(["promtool", "test", "rules", CASES / file], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout + judged.stderr


@needs_promtool
@pytest.mark.parametrize("file", OURS)
def test_a_rule_file_is_one_that_prometheus_takes(file: str) -> None:
    judged = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", PROMETHEUS / file], capture_output=True, text=True, check=False
    )

    assert judged.returncode == 0, judged.stdout + judged.stderr


@needs_promtool
@pytest.mark.parametrize("file", ["prometheus.yml", "prometheus-kubernetes.yml"])
def test_the_configuration_is_one_that_prometheus_takes(file: str) -> None:
    judged = subprocess.run(
        ["promtool", "check", "config", PROMETHEUS / file], capture_output=True, text=True, check=False
    )

    if "field kubernetes_sd_configs not found" in judged.stderr + judged.stdout:
        pytest.skip("this promtool was built without Kubernetes, and cannot judge how its Pods are found")
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_is_tested_firing_and_not_firing_and_resolving(alert: str) -> None:
    cases = expectations()[alert]

    fires = any(count for moments in cases for _, count in moments)
    is_silent = any(not moments[0][1] for moments in cases)
    resolves = any(count and not moments[-1][1] for moments in cases for _, count in moments)

    assert (fires, is_silent, resolves) == (True, True, True)


def test_the_cases_ask_after_alerts_that_there_are() -> None:
    assert expectations().keys() - alerts().keys() == set()


@pytest.mark.parametrize("file", OURS)
def test_a_rule_reads_only_names_that_there_are(file: str) -> None:
    read = frozenset[str]().union(*(names(expression) for expression in expressions(file)))

    assert read
    assert read - known() == set()


@pytest.mark.parametrize("file", OURS)
def test_a_rule_chooses_only_by_labels_that_there_are(file: str) -> None:
    labels = published()

    wrong = {
        each
        for expression in expressions(file)
        for each in selected(expression)
        if each.name in labels and each.labels - labels[each.name] - BY_THE_SCRAPE
    }

    assert wrong == set()


def expressions(file: str) -> Iterator[str]:
    """What the rules of a file compute, and what the texts of its alerts ask for."""
    for rule in rules(PROMETHEUS / file):
        yield rule["expr"]
        for text in (rule.get("annotations") or {}).values():
            yield from (asked.replace("%q", '""') for asked in re.findall(r'query \(printf "(.*?)" ', text))


@pytest.mark.parametrize(("alert", "rule"), alerts().items())
def test_an_alert_says_how_grave_it_is_and_what_to_read(alert: str, rule: Mapping[str, Any]) -> None:
    said = rule["annotations"]

    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(said) == {"summary", "description", "runbook_url"}
    assert said["runbook_url"] == f"{LINK}{alert.lower()}"


@pytest.mark.parametrize("alert", alerts())
def test_the_runbook_has_a_section_on_every_alert(alert: str) -> None:
    headings = re.findall(r"^#+ +(.+?) *$", RUNBOOK.read_text(), re.MULTILINE)

    assert alert.lower() in {anchor(heading) for heading in headings}


def anchor(heading: str) -> str:
    """The anchor that a heading has on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_an_objective_is_compared_with_no_figure_of_the_rules() -> None:
    of_objectives = [rule["expr"] for rule in alerts().values() if "model_objective_" in rule["expr"]]
    budgets = [expression for expression in of_objectives if "ratio_5m" in expression or "ratio_2h" in expression]

    figures = {figure for each in set(of_objectives) - set(budgets) for figure in re.findall(r"(?<![\w.])\d+", each)}

    assert len(of_objectives) > len(budgets) == 2
    assert figures <= {"0", "1"}


def test_the_table_in_the_readme_is_that_of_the_rules() -> None:
    """Renew it with WRITE=1 in the environment of this test."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    renewed = f"{before}{BEGIN}{table()}{END}{after}"

    if os.environ.get("WRITE"):
        README.write_text(renewed)

    assert README.read_text() == renewed, "renew it: WRITE=1 pytest tests/deploy/test_rules.py"


def table() -> str:
    """Every alert of every file."""
    return "\n".join(
        f"### {file}\n\n| alert | fires when | for | keeps firing for | severity |\n| --- | --- | --- | --- | --- |\n"
        + "".join(row(rule) for rule in rules(PROMETHEUS / file) if "alert" in rule)
        for file in OURS
        if file != "recording.yml"
    )


def row(rule: Mapping[str, Any]) -> str:
    """One alert."""
    expression = " ".join(rule["expr"].split()).replace("|", "\\|")
    waits = f"{rule.get('for', '')} | {rule.get('keep_firing_for', '')}"
    return f"| `{rule['alert']}` | `{expression}` | {waits} | {rule['labels']['severity']} |\n"
