"""What moves between a GPU and the rest of the machine: counts that never fall, and links that there may be none of."""

from functools import partial
from pathlib import Path

import pytest

from exporter.gpus.links import GpuLinks, Links
from tests.gpus.asked import UUID, Ask, asked, batches
from tests.nvml.boards import NAMES
from tests.nvml.driver import require_compiler

require_compiler()

WRAP = 1 << 32
WITH_NVLINK = {"a100", "h100", "h100-mig", "h200"}
WITHOUT_TRAFFIC = {"gb10"}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    return partial(asked, tmp_path, monkeypatch)


@pytest.mark.parametrize("board", NAMES)
def test_a_board_tells_of_the_links_that_it_has(ask: Ask, board: str) -> None:
    driver, gpu = ask(board)

    links = Links()
    told, errors = links.read(gpu, "0", UUID), links.errors(gpu, "0", UUID).nvlink_errors

    nvlink = (told.nvlink_transmitted_bytes, told.nvlink_received_bytes, dict(errors))
    assert nvlink == ((0, 0, {"replay": 0, "recovery": 0, "crc": 0}) if board in WITH_NVLINK else (None, None, {}))
    assert (told.pcie_transmitted_bytes is None) == (board in WITHOUT_TRAFFIC)
    assert (told.bar1_total_bytes is None) == (board in WITHOUT_TRAFFIC)
    assert told.pcie_link_generation
    assert told.pcie_link_width
    assert "nvmlDeviceGetPcieThroughput" not in {call.function for call in driver.calls()}


def test_everything_is_told_in_bytes(ask: Ask) -> None:
    nvlink = {"nvlink__transmitted_kib": 3, "nvlink__received_kib": 4}
    _, gpu = ask(pcie_transmitted=1000, pcie_received=2000, pcie_generation=4, pcie_width=8, **nvlink)

    told = Links().read(gpu, "0", UUID)

    assert told == GpuLinks(
        gpu="0",
        uuid=UUID,
        bar1_total_bytes=137438953472,
        bar1_used_bytes=1048576,
        pcie_transmitted_bytes=1000,
        pcie_received_bytes=2000,
        pcie_link_generation=4,
        pcie_link_width=8,
        nvlink_transmitted_bytes=3072,
        nvlink_received_bytes=4096,
    )


def test_from_the_second_look_on_one_call_asks_for_all_counts_and_one_for_all_errors(ask: Ask) -> None:
    driver, gpu = ask()
    links = Links()
    links.read(gpu, "0", UUID)
    links.errors(gpu, "0", UUID)
    driver.forget_calls()

    links.read(gpu, "0", UUID)
    told = links.errors(gpu, "0", UUID)

    assert batches(driver) == 2
    assert told.nvlink_errors.keys() == {"replay", "recovery", "crc"}


def test_bytes_over_pcie_go_on_where_the_board_begins_again_after_4_gib(ask: Ask) -> None:
    driver, gpu = ask(pcie_transmitted=WRAP - 100, pcie_received=50)
    links = Links()
    before = links.read(gpu, "0", UUID)

    driver.script({"gpu.0.pcie_transmitted": 200, "gpu.0.pcie_received": 60})
    wrapped = links.read(gpu, "0", UUID)
    driver.script({"gpu.0.pcie_transmitted": 300})
    after = links.read(gpu, "0", UUID)

    transmitted = [each.pcie_transmitted_bytes for each in (before, wrapped, after)]
    assert transmitted == [WRAP - 100, WRAP + 200, WRAP + 300]
    assert after.pcie_received_bytes == 60


def test_a_count_that_went_further_than_4_gib_and_begins_again_goes_on_from_there(ask: Ask) -> None:
    driver, gpu = ask(pcie_transmitted=3 * WRAP)
    links = Links()
    links.read(gpu, "0", UUID)

    driver.script({"gpu.0.pcie_transmitted": 70})

    assert links.read(gpu, "0", UUID).pcie_transmitted_bytes == 3 * WRAP + 70


def test_a_count_is_absent_while_it_is_not_told_and_then_goes_on(ask: Ask) -> None:
    driver, gpu = ask(pcie_transmitted=WRAP - 100)
    links = Links()
    links.read(gpu, "0", UUID)

    driver.script({"gpu.0.pcie_transmitted": "!999"})
    silent = links.read(gpu, "0", UUID)
    driver.script({"gpu.0.pcie_transmitted": 10})
    again = links.read(gpu, "0", UUID)

    assert silent.pcie_transmitted_bytes is None
    assert again.pcie_transmitted_bytes == WRAP + 10


def test_the_counts_of_two_gpus_are_not_mixed_up(ask: Ask) -> None:
    driver, gpu = ask(pcie_transmitted=900)
    links = Links()
    links.read(gpu, "0", UUID)

    driver.script({"gpu.0.pcie_transmitted": 100})

    assert links.read(gpu, "1", "GPU-another").pcie_transmitted_bytes == 100


def test_a_gpu_that_was_forgotten_begins_anew(ask: Ask) -> None:
    driver, gpu = ask(pcie_transmitted=900)
    links = Links()
    links.read(gpu, "0", UUID)

    links.forget(UUID)
    driver.script({"gpu.0.pcie_transmitted": 100})

    assert links.read(gpu, "0", UUID).pcie_transmitted_bytes == 100


def test_newer_links_tell_bytes_by_themselves(ask: Ask) -> None:
    said = {"nvlink__transmitted": 5001, "nvlink__received": 5002, "nvlink__transmitted_kib": 1}
    _, gpu = ask(**said)

    told = Links().read(gpu, "0", UUID)

    assert (told.nvlink_transmitted_bytes, told.nvlink_received_bytes) == (5001, 5002)


def test_errors_are_added_up_over_the_links_that_tell_them(ask: Ask) -> None:
    said = {"nvlink__0__errors__replay": 4, "nvlink__17__errors__replay": 5, "nvlink__3__errors__replay": "N/A"}
    _, gpu = ask(**said)

    assert Links().errors(gpu, "0", UUID).nvlink_errors == {"replay": 9, "recovery": 0, "crc": 0}


def test_an_older_driver_tells_the_errors_of_all_links_at_once(ask: Ask) -> None:
    driver, gpu = ask(field__52=3, field__59=2, field__38=1)
    driver.script({"driver.fields": 146})

    links = Links()

    assert links.errors(gpu, "0", UUID).nvlink_errors == {"replay": 3, "recovery": 2, "crc": 1}
    assert links.read(gpu, "0", UUID).nvlink_transmitted_bytes == 0


def test_a_board_without_links_tells_nothing_of_them_though_its_driver_says_0(ask: Ask) -> None:
    _, gpu = ask("l40s", nvlink__count=0, field__138=0, field__139=0, field__52=0)

    links = Links()
    told, errors = links.read(gpu, "0", UUID), links.errors(gpu, "0", UUID)

    assert told.nvlink_transmitted_bytes is told.nvlink_received_bytes is None
    assert errors.nvlink_errors == {}


def test_a_driver_that_wants_privileges_for_fields_tells_the_rest(ask: Ask) -> None:
    driver, gpu = ask()
    driver.script({"result.nvmlDeviceGetFieldValues": 4})

    told = Links().read(gpu, "0", UUID)

    assert told.pcie_transmitted_bytes is told.nvlink_transmitted_bytes is None
    assert told.pcie_link_width == 16


@pytest.mark.parametrize(("word", "said"), [("bar1_total", 0), ("bar1_used", 137438953473), ("bar1_total", "N/A")])
def test_a_window_that_cannot_be_is_absent(ask: Ask, word: str, said: str | int) -> None:
    _, gpu = ask(**{word: said})

    told = Links().read(gpu, "0", UUID)

    assert told.bar1_total_bytes is told.bar1_used_bytes is None


@pytest.mark.parametrize("said", [0, 0xFFFFFFFF, "N/A"])
def test_a_link_that_cannot_be_is_absent(ask: Ask, said: str | int) -> None:
    _, gpu = ask(pcie_generation=said, pcie_width=said)

    told = Links().read(gpu, "0", UUID)

    assert told.pcie_link_generation is told.pcie_link_width is None
