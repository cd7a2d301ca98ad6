"""What is shipped for log shippers, against what the program writes."""

import json
import re

import pytest
import yaml

from tests.daemon import ROOT, begun

LOGS = ROOT / "deploy" / "logs"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What the program writes as JSON of a service that is not there."""
    config = {
        "targets": [{"name": "chat", "url": NOBODY}],
        "health": {"every": "200ms"},
        "log": {"format": "json"},
        "verdict": {"startup_allowance": "1s"},
    }
    with begun(tmp_path_factory.mktemp("logs"), config) as daemon:
        daemon.until(lambda page: page.value("model_state", target="chat", state="dead") == 1)
        return [json.loads(line) for line in daemon.log.splitlines()]


def test_every_line_has_its_time_its_level_its_place_and_its_message(lines: list[dict[str, object]]) -> None:
    assert lines
    assert all({"ts", "level", "logger", "msg"} <= line.keys() for line in lines)


def test_a_change_of_the_verdict_can_be_searched_for(lines: list[dict[str, object]]) -> None:
    changes = [line for line in lines if line["logger"] == "exporter.assessor"]

    assert [(line["target"], line["state"], line["level"]) for line in changes][-1] == ("chat", "dead", "warning")


def test_every_field_that_is_written_is_documented(lines: list[dict[str, object]]) -> None:
    table = re.findall(r"^\| (`.*`) \|", (LOGS / "README.md").read_text(), re.MULTILINE)
    documented = {field for row in table for field in re.findall(r"`(\w+)`", row)}

    assert {field for line in lines for field in line} <= documented


@pytest.mark.parametrize(
    ("file", "read"),
    [
        pytest.param("vector.yaml", r"(?:exists|del)\(\.(\w+)\)", id="vector"),
        pytest.param("filebeat.yml", r"model_sidecar\.(\w+)", id="filebeat"),
    ],
)
def test_a_log_shipper_reads_only_fields_that_are_written(file: str, read: str, lines: list[dict[str, object]]) -> None:
    text = (LOGS / file).read_text()
    fields = set(re.findall(read, text))

    assert yaml.safe_load(text)
    assert fields
    assert fields <= {field for line in lines for field in line}


def test_filebeat_reads_the_time_as_it_is_written(lines: list[dict[str, object]]) -> None:
    processors = yaml.safe_load((LOGS / "filebeat.yml").read_text())["processors"]
    (layout,) = processors[0]["timestamp"]["layouts"]
    shape = re.sub(r"\d", r"\\d", layout.replace(".999", r"\.000"))

    assert all(re.fullmatch(shape, str(line["ts"])) for line in lines)


def test_the_sources_and_sinks_of_vector_are_joined() -> None:
    config = yaml.safe_load((LOGS / "vector.yaml").read_text())
    parts = [*config["sources"], *config["transforms"]]

    inputs = [each["inputs"] for each in (*config["transforms"].values(), *config["sinks"].values())]

    assert [name for names in inputs for name in names] == parts
