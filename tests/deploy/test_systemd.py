"""The unit for systemd, judged by systemd's own tools, and its file of variables."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.commands.reference import filled
from exporter.settings import Settings, load
from exporter.settings.environment import ONE_SERVICE, TARGETS
from exporter.settings.environment import variables as settable
from tests.deploy import machine

SHIPPED = machine.ROOT / "deploy" / "systemd"
UNIT = SHIPPED / "model-sidecar.service"
DROP_INS = SHIPPED / "model-sidecar.service.d"
VARIABLES = SHIPPED / "model-sidecar.env"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze, which comes with systemd, to judge"
)


def placed(folder: Path, *drop_ins: str) -> Path:
    """The unit where it is alone but for these drop-ins, with a program that can be run."""
    program = folder / "model-sidecar"
    program.touch(mode=0o755)
    unit = folder / UNIT.name
    unit.write_text(UNIT.read_text().replace(str(machine.PLACE / "bin" / "model-sidecar"), str(program)))
    (folder / DROP_INS.name).mkdir()
    for name in drop_ins:
        shutil.copy(DROP_INS / name, folder / DROP_INS.name)
    return unit


def exposure(unit: Path) -> float:
    """How much systemd finds open, from 0 to 10."""
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert found, judged.stdout
    return float(found[1])


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = placed(tmp_path, "processes.conf", "credentials.conf")

    judged = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=yes", unit], check=False, capture_output=True, text=True
    )

    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


@needs_systemd
def test_the_unit_is_closed_and_what_opens_it_says_by_how_much(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "opened").mkdir()

    closed, opened = exposure(placed(tmp_path / "closed")), exposure(placed(tmp_path / "opened", "processes.conf"))

    assert closed <= 2.0
    assert f"{closed} " in (SHIPPED / "README.md").read_text()
    assert f"{opened} " in (SHIPPED / "README.md").read_text()


def test_the_file_of_variables_is_made_from_the_settings() -> None:
    text = VARIABLES.read_text()

    assert filled(text) == text, f"run: python -m exporter reference {VARIABLES.relative_to(machine.ROOT)}"


def shipped() -> Mapping[str, str]:
    """Every variable of the file, with what stands for its default, as systemd would read it."""
    lines = (line.removeprefix("#").partition("=") for line in VARIABLES.read_text().splitlines() if "=" in line)
    return {name: text.strip("'") for name, _, text in lines if name.startswith("MODEL_SIDECAR_")}


def test_every_variable_of_the_file_is_known_and_says_its_default() -> None:
    url = {"MODEL_SIDECAR_URL": "http://a"}
    usual = load({}, file=None, environ=url)
    told = {name: text for name, text in shipped().items() if name not in url}

    # A list of services goes with no variable of one service.
    alone = {name: {} if name == TARGETS else url for name in told}
    read = {name: load({}, file=None, environ={**alone[name], name: text}) for name, text in told.items()}

    assert [name for name, settings in read.items() if settings != (usual if alone[name] else Settings())] == []
    assert set(told) == {*ONE_SERVICE, *settable()} - url.keys()


def test_no_file_of_a_key_is_needed_until_somebody_names_one() -> None:
    lines = (DROP_INS / "credentials.conf").read_text().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == ["[Service]"]
