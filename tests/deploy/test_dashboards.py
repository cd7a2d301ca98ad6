"""What is committed for Grafana: that it is what its code makes, names only what there is, and shows it readably."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dashboards import FOLDER, NAMES, Document, dashboard, filled, panels, queries, variables
from tests.deploy.names import BY_THE_SCRAPE, known, published, selected

ROOT = Path(__file__).parent.parent.parent
CASES = Path(__file__).parent / "fleet.test.yml"
GRAFANA = ROOT / "deploy" / "grafana"
ANY = {
    "__rate_interval": "1m",
    "__range": "1h",
    **dict.fromkeys(("job", "namespace", "pod", "instance", "target", "gpu"), ".*"),
}
UIDS = {f"model-sidecar-{name}" for name in NAMES}

each_dashboard = pytest.mark.parametrize("name", NAMES)


def test_what_is_committed_is_what_the_code_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "deploy.grafana.make", tmp_path], cwd=ROOT, check=True)

    made = {file.name: file.read_text() for file in tmp_path.iterdir()}

    assert made == {file.name: file.read_text() for file in FOLDER.iterdir()}


@each_dashboard
def test_a_dashboard_asks_only_for_metrics_that_there_are(name: str) -> None:
    asked = {each.name for query in queries(name) for each in selected(filled(query.promql, ANY))}

    assert asked
    assert not asked - known()


@each_dashboard
def test_a_dashboard_chooses_only_by_labels_that_there_are(name: str) -> None:
    labels = published()

    wrong = {
        each.name: each.labels - labels[each.name] - BY_THE_SCRAPE
        for query in queries(name)
        for each in selected(filled(query.promql, ANY))
        if each.name in labels and each.labels - labels[each.name] - BY_THE_SCRAPE
    }

    assert not wrong


@each_dashboard
def test_no_variable_is_left_that_a_dashboard_does_not_have(name: str) -> None:
    document = dashboard(name)
    had = {each["name"]: ".*" for each in document["templating"]["list"]} | {"__rate_interval": "1m", "__range": "1h"}

    left = {query.where for query in queries(name) if "$" in filled(query.promql, had)}

    assert not left


@each_dashboard
def test_each_variable_is_used_and_offers_the_values_of_a_label_that_there_is(name: str) -> None:
    document = dashboard(name)
    asked = "".join(query.promql for query in queries(name))

    for variable, label, series in offered(document):
        (read,) = selected(series)

        assert variable == label
        assert f"${label}" in asked
        assert label in published().get(read.name, frozenset()) | BY_THE_SCRAPE


def offered(document: Document) -> Iterator[tuple[str, str, str]]:
    """Each variable's name, the label whose values it offers, and the series that these are of."""
    for variable in variables(document):
        series, _, label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
        yield variable["name"], label, filled(series, ANY)


@each_dashboard
def test_every_panel_says_what_it_shows_in_which_unit_and_from_where_on_it_is_bad(name: str) -> None:
    for panel in panels(dashboard(name)):
        shown = panel["fieldConfig"]["defaults"]

        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert shown["unit"], panel["title"]
        assert shown["thresholds"]["steps"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_dashboard_of_a_fleet_reads_only_what_is_recorded_for_it() -> None:
    read = {each.name for query in queries("fleet") for each in selected(filled(query.promql, ANY))}
    read |= {each.name for _, _, series in offered(dashboard("fleet")) for each in selected(series)}

    assert {name for name in read if not name.startswith("fleet:")} == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool, which judges rules")
def test_what_is_recorded_of_a_fleet_is_what_its_cases_say() -> None:
    judged = subprocess.run(["promtool", "test", "rules", CASES], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout + judged.stderr


@each_dashboard
def test_every_series_has_a_legend(name: str) -> None:
    for panel in panels(dashboard(name)):
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
        if panel["type"] in {"timeseries", "state-timeline"}:
            assert panel["options"]["legend"]["showLegend"], panel["title"]
        elif panel["type"] == "heatmap":
            assert panel["options"]["legend"]["show"], panel["title"]


@each_dashboard
def test_every_label_in_a_legend_is_kept_by_its_query(name: str) -> None:
    for panel in panels(dashboard(name)):
        for target in panel["targets"]:
            labels = {each.partition("}}")[0] for each in target["legendFormat"].split("{{")[1:]}
            assert all(label in target["expr"] or label in BY_THE_SCRAPE | OF_ALL for label in labels), target["expr"]


OF_ALL = frozenset(label for labels in published().values() for label in labels)


@each_dashboard
def test_no_two_panels_of_a_dashboard_have_one_title_or_one_number(name: str) -> None:
    document = dashboard(name)
    rows = [panel for panel in document["panels"] if panel["type"] == "row"]
    shown = [*rows, *panels(document)]

    titles = Counter(panel["title"] for panel in panels(document))
    numbers = Counter(panel["id"] for panel in shown)

    assert [title for title, times in titles.items() if times > 1] == []
    assert set(numbers.values()) == {1}


@each_dashboard
def test_panels_stand_side_by_side_and_below_one_another(name: str) -> None:
    document = dashboard(name)
    opened = [panel for panel in document["panels"] if panel["type"] != "row"]
    rows = [panel for panel in document["panels"] if panel["type"] == "row"]

    assert not overlapping([*opened, *rows])
    for row in rows:
        assert not overlapping(row["panels"])
        assert all(panel["gridPos"]["y"] > row["gridPos"]["y"] for panel in row["panels"])
    assert all(place["x"] + place["w"] <= 24 and place["h"] >= 3 for place in map(where, panels(document)))


@each_dashboard
def test_no_line_of_panels_ends_in_a_hole(name: str) -> None:
    document = dashboard(name)
    lines: dict[tuple[int, int], int] = {}
    for panel in panels(document):
        place = where(panel)
        row = max(other["id"] for other in document["panels"] if other["type"] == "row" and other["id"] < panel["id"])
        lines[row, place["y"]] = lines.get((row, place["y"]), 0) + place["w"]

    assert {line for line, width in lines.items() if width != 24} == set()


def where(panel: Document) -> dict[str, Any]:
    place: dict[str, Any] = panel["gridPos"]
    return place


def overlapping(shown: list[Document]) -> list[tuple[str, str]]:
    return [(one["title"], other["title"]) for one, other in combinations(shown, 2) if _meet(where(one), where(other))]


def _meet(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)


@each_dashboard
def test_a_link_leads_to_a_dashboard_that_there_is(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text()

    led = {part.split("?")[0].split('"')[0] for part in text.split("/d/")[1:]}

    assert led <= UIDS
    assert dashboard(name)["uid"] in UIDS


def test_what_is_provisioned_is_one_source_and_the_folder_of_dashboards() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/model-sidecar.yml").read_text())["providers"]

    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards/model-sidecar"
