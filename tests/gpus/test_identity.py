"""What each GPU and its driver are, as labels."""

from pathlib import Path

from exporter.gpus.identity import GpuDriver, GpuIdentity
from tests.nvml.driver import Driver, of, require_compiler

require_compiler()


def test_a_gpu_and_its_driver_say_what_they_are(tmp_path: Path) -> None:
    readings = Driver(tmp_path).look()

    assert of(GpuDriver, readings) == [GpuDriver(driver="580.105.08", cuda="13.0", nvml="13.580.105.08")]
    assert of(GpuIdentity, readings) == [
        GpuIdentity(
            gpu="0",
            uuid="GPU-00000000-0000-0000-0000-000000000000",
            name="NVIDIA H100 80GB HBM3",
            pci_bus_id="00000000:18:00.0",
            serial="1650000000001",
            vbios="96.00.99.00.01",
            architecture="Hopper",
            compute_capability="9.0",
        )
    ]


def test_boards_of_every_generation_are_told_apart(tmp_path: Path) -> None:
    readings = Driver(tmp_path, board=("t4", "a100", "l40s", "h200", "gb10")).look()

    told = [(each.architecture, each.compute_capability) for each in of(GpuIdentity, readings)]
    assert told == [("Turing", "7.5"), ("Ampere", "8.0"), ("Ada", "8.9"), ("Hopper", "9.0"), ("Blackwell", "12.1")]


def test_a_name_that_is_no_text_costs_itself_alone(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.script({"gpu.0.name": "\udcff\udcfe"})

    identity = of(GpuIdentity, driver.look())[0]

    assert identity.name == ""
    assert identity.serial == "1650000000001"
