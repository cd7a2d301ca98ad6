"""The temperature sensors of machines large and small, as the kernel shows them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.sensors import Sensors

SERVER = {
    "hwmon/hwmon0/name": "coretemp\n",
    "hwmon/hwmon0/temp1_input": "51000\n",
    "hwmon/hwmon0/temp1_label": "Package id 0\n",
    "hwmon/hwmon0/temp1_max": "80000\n",
    "hwmon/hwmon0/temp10_input": "49000\n",
    "hwmon/hwmon0/temp10_label": "Core 8\n",
    "hwmon/hwmon0/temp2_input": "48500\n",
    "hwmon/hwmon0/temp2_label": "Core 0\n",
    "hwmon/hwmon0/fan1_input": "1200\n",
    "hwmon/hwmon1/name": "coretemp\n",
    "hwmon/hwmon1/temp1_input": "52000\n",
    "hwmon/hwmon2/device/name": "w83627ehf\n",
    "hwmon/hwmon2/device/temp1_input": "-3000\n",
    "hwmon/hwmon3/temp1_input": "20000\n",
    "thermal/thermal_zone0/type": "acpitz\n",
    "thermal/thermal_zone0/temp": "27800\n",
}


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Where the kernel shows the classes of its devices."""
    shown(tmp_path, SERVER)
    return tmp_path


def shown(classes: Path, files: Mapping[str, str]) -> None:
    """Have the kernel show more files."""
    for name, text in files.items():
        (classes / name).parent.mkdir(parents=True, exist_ok=True)
        (classes / name).write_text(text)


def test_a_sensor_is_named_for_its_chip_its_place_and_its_label(classes: Path) -> None:
    told = Sensors(classes).now()

    assert told == {
        "coretemp/0/Package id 0": 51.0,
        "coretemp/1/Core 8": 49.0,
        "coretemp/2/Core 0": 48.5,
        "coretemp/3": 52.0,
        "w83627ehf/0": -3.0,
    }


def test_where_no_chip_has_sensors_the_zones_of_the_firmware_are_told(classes: Path) -> None:
    shutil.rmtree(classes / "hwmon")

    assert Sensors(classes).now() == {"acpitz/0": 27.8}


def test_a_machine_without_sensors_has_no_temperatures(tmp_path: Path) -> None:
    assert Sensors(tmp_path).now() == {}


def test_each_look_tells_the_temperature_of_its_moment_and_nothing_of_a_sensor_that_fails(classes: Path) -> None:
    every = Sensors(classes)
    every.now()
    shown(classes, {"hwmon/hwmon0/temp1_input": "61000\n", "hwmon/hwmon0/temp2_input": "broken\n"})
    (classes / "hwmon/hwmon1/temp1_input").unlink()

    told = every.now()

    assert told == {"coretemp/0/Package id 0": 61.0, "coretemp/1/Core 8": 49.0, "w83627ehf/0": -3.0}


def test_a_chip_that_comes_is_told_of_at_once_and_one_that_gets_the_name_of_another_is_not_mistaken_for_it(
    classes: Path,
) -> None:
    every = Sensors(classes)
    every.now()
    shown(classes, {"hwmon/hwmon4/name": "nvme\n", "hwmon/hwmon4/temp1_input": "40000\n"})
    came = every.now()
    shown(classes, {"new/name": "k10temp\n", "new/temp1_input": "41000\n"})
    (classes / "hwmon/hwmon4").rename(classes / "old")
    (classes / "new").rename(classes / "hwmon/hwmon4")

    took_its_place = every.now()

    assert came["nvme/0"] == 40.0
    assert took_its_place["k10temp/0"] == 41.0
    assert "nvme/0" not in took_its_place


@pytest.mark.parametrize(("listed", "third"), [(0.0, 47.0), (600.0, 52.0)])
def test_a_sensor_that_a_known_chip_gets_is_told_of_once_the_sensors_are_listed_again(
    classes: Path, listed: float, third: float
) -> None:
    every = Sensors(classes, listed=listed)
    every.now()
    shown(classes, {"hwmon/hwmon0/temp3_input": "47000\n"})

    assert every.now()["coretemp/3"] == third
