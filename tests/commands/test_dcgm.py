"""The recording rules of dcgm-exporter's names: as their table makes them, each once and each of them sound."""

import re
from pathlib import Path

import pytest
import yaml

from exporter.commands import dcgm
from exporter.commands.reference import filled, write

FILE = Path(__file__).parent.parent.parent / "deploy" / "prometheus" / "dcgm-names.yml"
DASHBOARD = (
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
)


def recorded() -> list[str]:
    (group,) = yaml.safe_load(FILE.read_text())["groups"]
    return [rule["record"] for rule in group["rules"]]


def test_the_rules_are_as_their_table_makes_them() -> None:
    text = FILE.read_text()

    assert filled(text) == text, "run: python -m exporter reference deploy/prometheus/dcgm-names.yml"


def test_rules_that_were_edited_by_hand_are_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "dcgm-names.yml"
    file.write_text(FILE.read_text().replace("/ 1048576", "/ 1000000"))

    write(file)

    assert file.read_text() == FILE.read_text()


def test_every_series_of_the_table_is_recorded_once() -> None:
    names = recorded()

    assert [name for name in names if name.startswith("DCGM_")] == [each.name for each in dcgm.SERIES]
    assert len(set(names)) == len(names)


def test_the_labels_come_before_what_is_recorded_with_them() -> None:
    first = recorded()[:4]

    assert {dcgm.EVERY_GPU, dcgm.UNDIVIDED_GPU, dcgm.MIG_INSTANCE} < set(first)


@pytest.mark.parametrize("name", DASHBOARD)
def test_what_grafanas_dashboard_12239_asks_for_is_told(name: str) -> None:
    assert name in {each.name for each in dcgm.SERIES}


def test_nothing_is_both_told_and_not() -> None:
    told = {each.name for each in dcgm.SERIES}

    untold = {name for names in dcgm.UNTOLD for name in re.findall(r"\bDCGM_\w+", names)}

    assert untold
    assert not untold & told
