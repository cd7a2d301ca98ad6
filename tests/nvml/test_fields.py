"""Fields: many numbers in one call, each with a scope, a return code and a type of its own."""

import sys
from functools import partial
from pathlib import Path

import pynvml
import pytest

from exporter.gpus.links import ALWAYS
from exporter.nvml import Lost
from exporter.nvml.fields import ASKED, EVERY_LINK, HW_THERMAL, MEMORY_TEMPERATURE, SW_THERMAL, TOLD, values
from tests.gpus.asked import Ask, asked, batches
from tests.nvml.driver import require_compiler
from tests.nvml.opened import first, opened

require_compiler()

DOUBLE = 0


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return partial(asked, tmp_path, monkeypatch)


def test_a_field_is_laid_out_as_the_binding_has_it() -> None:
    entry = pynvml.c_nvmlFieldValue_t(fieldId=1, scopeId=2, timestamp=-1, latencyUsec=-1, valueType=3, nvmlReturn=4)
    entry.value.ullVal = 5

    assert ASKED.unpack(entry) == (1, 2)
    assert TOLD.unpack(entry) == (1, 3, 4, (5).to_bytes(8, sys.byteorder))


def test_fields_are_told_as_the_binding_tells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    driver.script({"gpu.*.nvlink.transmitted": 1 << 40, "gpu.*.nvlink.received": "N/A"})

    found = values(first(nvml), *ALWAYS)

    entries = pynvml.nvmlDeviceGetFieldValues(pynvml.nvmlDeviceGetHandleByIndex(0), ALWAYS)
    told = {field: entry for field, entry in zip(ALWAYS, entries, strict=True) if not entry.nvmlReturn}
    assert 1 < len(told) < len(ALWAYS)
    assert found == {field: entry.value.ullVal for field, entry in told.items()}


def test_what_it_costs_to_ask_for_fields_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, nvml = opened(tmp_path, monkeypatch)
    nvml.costs()

    values(first(nvml), 74, 94)

    assert nvml.costs()["nvmlDeviceGetFieldValues"].calls == 1


def test_many_fields_are_told_in_one_call(ask: Ask) -> None:
    driver, gpu = ask(pcie_replays=3, recovery_action=1)

    found = values(gpu, MEMORY_TEMPERATURE, 94, 230)

    assert found == {MEMORY_TEMPERATURE: 48, 94: 3, 230: 1}
    assert batches(driver) == 1


def test_a_field_that_fails_leaves_the_others(ask: Ask) -> None:
    driver, gpu = ask(memory_temperature="N/A", pcie_replays="!999")
    driver.script({"driver.fields": 230})

    found = values(gpu, MEMORY_TEMPERATURE, 94, 74, 230, 5000)

    assert found == {74: 0}


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("u32:4294967290", 4294967290),
        ("i32:-5", -5),
        ("u16:65535", 65535),
        ("ulong:1099511627776", 1 << 40),
        ("u64:1099511627776", 1 << 40),
        ("i64:-1099511627776", -(1 << 40)),
    ],
)
def test_a_number_is_read_as_the_type_that_it_has(ask: Ask, said: str, number: int) -> None:
    _, gpu = ask(field__9=said)

    assert values(gpu, 9) == {9: number}


@pytest.mark.parametrize("said", ["u32:4294967295", "u64:18446744073709551615", "u64:9223372036854775792", "f64:nan"])
def test_what_stands_for_no_number_is_not_told(ask: Ask, said: str) -> None:
    _, gpu = ask(field__9=said)

    assert values(gpu, 9, 83) == {83: 600000}


def test_the_temperature_of_memory_is_a_whole_number_even_where_the_driver_calls_it_a_double(ask: Ask) -> None:
    _, gpu = ask(field_type__82=DOUBLE)

    assert values(gpu, MEMORY_TEMPERATURE) == {MEMORY_TEMPERATURE: 48}


def test_a_type_that_nobody_knows_is_not_guessed_at(ask: Ask) -> None:
    _, gpu = ask(field_type__83=77)

    assert values(gpu, 83, 94) == {94: 0}


def test_a_setting_of_some_drivers_is_not_taken_for_the_time_whose_id_it_has(ask: Ask) -> None:
    _, gpu = ask(field__269="u32:3", field__270="u64:5000000000")

    assert values(gpu, SW_THERMAL, HW_THERMAL) == {HW_THERMAL: 5_000_000_000}


def test_a_scope_chooses_a_link_or_the_sum_of_all(ask: Ask) -> None:
    _, gpu = ask(nvlink__transmitted_kib=18000, nvlink__3__errors__crc=7)

    found = values(gpu, (138, EVERY_LINK), (138, 0), (163, 2), (163, 3), (163, 18))

    assert found == {(138, EVERY_LINK): 18000, (138, 0): 1000, (163, 2): 0, (163, 3): 7}


def test_what_a_driver_adds_to_what_it_finds_is_not_added_up(ask: Ask) -> None:
    _, gpu = ask(nvlink__received_kib=500)

    looks = [values(gpu, (139, EVERY_LINK)) for _ in range(3)]

    assert looks == [{(139, EVERY_LINK): 500}] * 3


@pytest.mark.parametrize("lacks", [(), ("nvmlDeviceGetFieldValues",)])
def test_a_call_that_fails_tells_nothing(ask: Ask, lacks: tuple[str, ...]) -> None:
    driver, gpu = ask(lacks=lacks)
    driver.script({"result.nvmlDeviceGetFieldValues": 999})

    assert values(gpu, 74, 94) == {}


def test_a_gpu_that_is_lost_amid_its_fields_is_lost(ask: Ask) -> None:
    driver, gpu = ask()

    driver.script({"gpu.0.lost": 1})

    with pytest.raises(Lost):
        values(gpu, 74)
