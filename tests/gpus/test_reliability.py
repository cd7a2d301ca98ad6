"""Whether a GPU can be relied on: errors of memory, rows and pages that were given up, and what the driver advises."""

from functools import partial
from pathlib import Path

import pytest

from exporter.gpus.reliability import GpuReliability, reliability
from tests.gpus.asked import UUID, Ask, asked, batches
from tests.nvml.boards import NAMES
from tests.nvml.driver import require_compiler

require_compiler()

WITHOUT_ECC = {"gb10"}
WITHOUT_REMAPPING = {"t4", "gb10", "h100-mig"}
WITH_RETIREMENT = {"t4"}

ECC = {
    "ecc__corrected__volatile": 1,
    "ecc__uncorrected__volatile": 2,
    "ecc__corrected__aggregate": 3,
    "ecc__uncorrected__aggregate": 4,
}
TOLD_ECC = {
    ("corrected", "volatile"): 1,
    ("uncorrected", "volatile"): 2,
    ("corrected", "aggregate"): 3,
    ("uncorrected", "aggregate"): 4,
}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return partial(asked, tmp_path, monkeypatch)


@pytest.mark.parametrize("board", NAMES)
def test_a_board_tells_what_it_can_get_wrong(ask: Ask, board: str) -> None:
    _, gpu = ask(board)

    told = reliability(gpu, "0", UUID)

    assert len(told.ecc_errors) == (0 if board in WITHOUT_ECC else 4)
    remapping = (told.remapped_rows or None, told.row_remap_pending, told.row_remap_failed)
    assert (remapping == (None, None, None)) == (board in WITHOUT_REMAPPING)
    assert (told.retired_pages != {}) == (told.retired_pages_pending is not None) == (board in WITH_RETIREMENT)
    assert told.recovery_action == 0
    assert told.pcie_replays == 0


def test_everything_is_told_under_its_own_name_and_in_one_call(ask: Ask) -> None:
    rows = {"remapped_correctable": 5, "remapped_uncorrectable": 6, "remap_pending": 1, "remap_failed": 0}
    pages = {"retired__single_bit": 7, "retired__double_bit": 8, "retired_pending": 0}
    driver, gpu = ask(recovery_action=2, pcie_replays=9, **ECC, **rows, **pages)
    driver.forget_calls()

    told = reliability(gpu, "0", UUID)

    assert told == GpuReliability(
        gpu="0",
        uuid=UUID,
        ecc_errors=TOLD_ECC,
        remapped_rows={"correctable": 5, "uncorrectable": 6},
        row_remap_pending=True,
        row_remap_failed=False,
        retired_pages={"single_bit": 7, "double_bit": 8},
        retired_pages_pending=False,
        recovery_action=2,
        pcie_replays=9,
    )
    assert len(driver.calls()) == batches(driver) == 1


def test_errors_are_absent_where_ecc_is_off(ask: Ask) -> None:
    _, gpu = ask(**dict.fromkeys(ECC, "N/A"))

    assert reliability(gpu, "0", UUID).ecc_errors == {}


def test_a_kind_of_error_that_is_not_told_leaves_the_others(ask: Ask) -> None:
    _, gpu = ask("h100-mig", **ECC | {"ecc__corrected__volatile": "N/A", "ecc__uncorrected__volatile": "N/A"})

    assert reliability(gpu, "0", UUID).ecc_errors == {("corrected", "aggregate"): 3, ("uncorrected", "aggregate"): 4}


def test_functions_tell_what_fields_do_not(ask: Ask) -> None:
    said = {"remapped_uncorrectable": 6, "remap_failed": 1, "pcie_replays": 9}
    _, gpu = ask(lacks=["nvmlDeviceGetFieldValues"], **ECC, **said)

    told = reliability(gpu, "0", UUID)

    assert told.ecc_errors == TOLD_ECC
    assert told.remapped_rows == {"correctable": 0, "uncorrectable": 6}
    assert (told.row_remap_pending, told.row_remap_failed) == (False, True)
    assert told.pcie_replays == 9
    assert told.recovery_action is None


def test_an_older_driver_advises_nothing(ask: Ask) -> None:
    driver, gpu = ask()
    driver.script({"driver.fields": 230})

    told = reliability(gpu, "0", UUID)

    assert told.recovery_action is None
    assert told.row_remap_pending is False


@pytest.mark.parametrize("said", [2, 0xFFFFFFFF])
def test_what_is_neither_yes_nor_no_is_absent(ask: Ask, said: int) -> None:
    _, gpu = ask(remap_pending=said, retired_pending=said)

    told = reliability(gpu, "0", UUID)

    assert told.row_remap_pending is told.retired_pages_pending is None
    assert told.row_remap_failed is False
