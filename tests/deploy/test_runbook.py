"""The runbook, which whoever is called at night opens by a link: a section for every alert, and what it says exists."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from exporter.services import CATALOG
from tests.daemon import ROOT
from tests.deploy import names

DEPLOY = ROOT / "deploy"
RUNBOOK = DEPLOY / "RUNBOOK.md"
WHERE = "https://github.com/model-sidecar/model-sidecar/blob/main/deploy/RUNBOOK.md#"
ALERT = re.compile(r"(?:[A-Z][a-z]+){2,}")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def alerts() -> Iterator[tuple[str, str]]:
    """Every alert that is shipped, and where its text sends to."""
    for file in sorted((DEPLOY / "prometheus").glob("*.yml")):
        for rule in names.rules(file):
            if "alert" in rule:
                yield rule["alert"], rule["annotations"]["runbook_url"]


def prose(text: str) -> str:
    """What stands outside of blocks of code."""
    return FENCED.sub("", text)


def headings(text: str) -> list[str]:
    """The headings of a page."""
    return re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What a link may name of a page, as GitHub makes it of its headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(text)}


def test_every_alert_has_a_section_of_its_name() -> None:
    told = {name for name, _ in alerts()}

    assert told
    assert told - set(headings(RUNBOOK.read_text())) == set()


def test_no_section_is_of_an_alert_that_there_is_not() -> None:
    sections = {heading for heading in headings(RUNBOOK.read_text()) if ALERT.fullmatch(heading)}

    assert sections - {name for name, _ in alerts()} == set()


def test_the_link_of_every_alert_leads_to_its_section() -> None:
    assert {name: url for name, url in alerts() if url != WHERE + name.lower()} == {}


@pytest.mark.parametrize("page", ["RUNBOOK.md", "alertmanager/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    file = DEPLOY / page
    text = file.read_text()

    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        path, _, anchor = link.partition("#")
        if path.startswith("https://"):
            continue
        there = file.parent / path if path else file
        assert there.exists(), link
        assert not anchor or anchor in anchors(there.read_text()), link


def test_every_section_of_an_alert_says_what_it_means_what_to_look_at_and_what_to_do() -> None:
    sections = re.split(r"^#+ ", prose(RUNBOOK.read_text()), flags=re.MULTILINE)

    for section in sections:
        name, _, body = section.partition("\n")
        if ALERT.fullmatch(name):
            assert "- **It means:**" in body, name
            assert "**Look at" in body, name
            assert "do:**" in body.lower(), name


def test_it_names_only_metrics_that_there_are() -> None:
    named = set(re.findall(r"\b((?:model|gpu|host)_[a-z_]+)\b(?!\.)", RUNBOOK.read_text()))
    there = names.published().keys() | names.recorded() | {entry.name for entry in CATALOG.reference()}

    unknown = {name for name in named if not any(each.startswith(name) for each in there)}
    assert unknown - {"gpu_memory_ratio"} == set()  # An objective.


@pytest.mark.parametrize("page", ["RUNBOOK.md", "alertmanager/README.md"])
def test_a_shell_can_read_every_command(page: str) -> None:
    blocks = [code for language, code in FENCED.findall((DEPLOY / page).read_text()) if language == "sh"]

    assert blocks
    for code in blocks:
        read = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, ""), code
