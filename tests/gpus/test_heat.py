"""What slows a GPU down: reasons now and over time, memory's temperature, the margin and the fans."""

from functools import partial
from pathlib import Path

import pytest

from exporter.gpus.heat import COUNTERS, REASONS, GpuHeat, Throttle, heat
from tests.gpus.asked import UUID, Ask, asked, batches
from tests.nvml.boards import NAMES
from tests.nvml.driver import require_compiler

require_compiler()

WITH_MEMORY_SENSOR = {"a100", "h100", "h100-mig", "h200"}
WITH_MARGIN = {"h100", "h100-mig", "h200", "l40s"}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return partial(asked, tmp_path, monkeypatch)


@pytest.mark.parametrize("board", NAMES)
def test_a_board_tells_the_heat_that_it_has_sensors_for(ask: Ask, board: str) -> None:
    _, gpu = ask(board)

    told = heat(gpu, "0", UUID)

    assert (told.memory_temperature_celsius is not None) == (board in WITH_MEMORY_SENSOR)
    assert (told.temperature_margin_celsius is not None) == (board in WITH_MARGIN)
    assert told.fan_ratio is None


def test_heat_is_told_in_base_units_and_in_one_call_of_fields(ask: Ask) -> None:
    said = {"violation__0": 1_500_000_000, "violation__2": 2, "violation__sw_thermal": 3_000_000_000}
    driver, gpu = ask(memory_temperature=91, margin=-3, fans=1, fan__0=40, **said)

    told = heat(gpu, "0", UUID)

    assert told == GpuHeat(
        gpu="0",
        uuid=UUID,
        memory_temperature_celsius=91,
        temperature_margin_celsius=-3,
        fan_ratio=0.4,
        throttle_seconds={
            "sw_power_cap": 1.5,
            "sync_boost": 2e-9,
            "sw_thermal": 3.0,
            "hw_thermal": 0.0,
            "hw_power_brake": 0.0,
        },
    )
    assert batches(driver) == 1


@pytest.mark.parametrize("said", [0, 201, 0xFFFFFFFF])
def test_a_temperature_that_memory_cannot_have_is_absent(ask: Ask, said: int) -> None:
    _, gpu = ask(memory_temperature=said)

    assert heat(gpu, "0", UUID).memory_temperature_celsius is None


def test_memory_is_as_hot_as_it_is_where_the_driver_calls_that_a_double(ask: Ask) -> None:
    _, gpu = ask(field_type__82=0)

    assert heat(gpu, "0", UUID).memory_temperature_celsius == 48


def test_the_fastest_of_several_fans_counts_and_may_be_faster_than_is_meant(ask: Ask) -> None:
    _, gpu = ask(fans=3, fan__0=30, fan__1=107, fan__2="N/A")

    assert heat(gpu, "0", UUID).fan_ratio == 1.07


def test_one_fan_is_told_by_a_driver_that_cannot_count_them(ask: Ask) -> None:
    _, gpu = ask(fan__0=55)

    assert heat(gpu, "0", UUID).fan_ratio == 0.55


def test_a_fan_that_cannot_be_is_absent(ask: Ask) -> None:
    _, gpu = ask(fans=1, fan__0=0xFFFFFFFE)

    assert heat(gpu, "0", UUID).fan_ratio is None


def test_a_driver_that_does_not_divide_heat_tells_it_once(ask: Ask) -> None:
    driver, gpu = ask(violation__1=4_000_000_000, violation__sw_thermal=1_000_000_000)
    driver.script({"driver.fields": 230})

    told = heat(gpu, "0", UUID).throttle_seconds

    assert told == {"sw_power_cap": 0.0, "sync_boost": 0.0, "sw_thermal": 4.0}


def test_heat_that_is_divided_is_not_told_as_a_whole_too(ask: Ask) -> None:
    _, gpu = ask(violation__1=4_000_000_000, violation__sw_thermal="N/A", violation__hw_thermal=1_000_000_000)

    told = heat(gpu, "0", UUID).throttle_seconds

    assert "sw_thermal" not in told
    assert told["hw_thermal"] == 1.0


def test_times_come_from_the_function_that_fields_replaced_where_a_driver_has_no_fields(ask: Ask) -> None:
    said = {"violation__0": 1_000_000_000, "violation__1": 2_000_000_000, "violation__2": 3_000_000_000}
    _, gpu = ask(lacks=["nvmlDeviceGetFieldValues"], **said)

    told = heat(gpu, "0", UUID).throttle_seconds

    assert told == {"sw_power_cap": 1.0, "sw_thermal": 2.0, "sync_boost": 3.0}


def test_every_reason_whose_time_is_told_is_one_that_is_told_at_the_moment() -> None:
    assert COUNTERS.keys() < REASONS.keys()


@pytest.mark.parametrize("board", NAMES)
def test_a_board_at_rest_is_held_back_by_nothing_but_that(ask: Ask, board: str) -> None:
    _, gpu = ask(board)

    told = Throttle().read(gpu, "0", UUID).throttle

    assert told.keys() == REASONS.keys()
    assert {reason for reason, held in told.items() if held} <= {"idle"}


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_told_by_its_own_bit(ask: Ask, reason: str) -> None:
    _, gpu = ask(reasons=REASONS[reason])

    told = Throttle().read(gpu, "0", UUID).throttle

    assert told == {each: each == reason for each in REASONS}


def test_a_reason_that_the_board_cannot_tell_is_absent(ask: Ask) -> None:
    _, gpu = ask(reasons=0x24, reasons_supported=0x26)

    assert Throttle().read(gpu, "0", UUID).throttle == {
        "application_clocks": False,
        "sw_power_cap": True,
        "sw_thermal": True,
    }


@pytest.mark.parametrize("word", ["reasons", "reasons_supported"])
@pytest.mark.parametrize("said", ["N/A", 0xFFFFFFFFFFFFFFFF])
def test_no_reason_is_told_where_the_board_does_not_say_which_hold_or_which_it_knows(
    ask: Ask, word: str, said: str | int
) -> None:
    _, gpu = ask(**{word: said})

    assert Throttle().read(gpu, "0", UUID).throttle == {}


def test_reasons_are_told_by_their_old_name_where_a_driver_lacks_the_new(ask: Ask) -> None:
    new = ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetSupportedClocksEventReasons"]
    _, gpu = ask(lacks=new, reasons=0x4)

    assert Throttle().read(gpu, "0", UUID).throttle["sw_power_cap"]
