"""The simulated driver: what the real source of the GPUs makes of what it says."""

from collections.abc import Sequence

from exporter.commands.demo.gpu import NAME, SimulatedDriver, Trouble
from exporter.gpus.activity import Gpu
from exporter.gpus.heat import GpuThrottle
from exporter.gpus.identity import GpuIdentity
from exporter.nvml import Respondent
from exporter.reading import Reading, declarations
from exporter.sources.gpu import GpuPresence, Gpus
from tests.nvml.driver import of


def look(gpus: Gpus) -> Sequence[Reading]:
    """What one look says."""
    return gpus.look()


def test_every_gpu_is_named_as_simulated() -> None:
    readings = tuple(look(Gpus(SimulatedDriver())))

    assert [identity.name for identity in of(GpuIdentity, readings)] == [NAME, NAME]
    assert NAME.startswith("Simulated")


def test_no_part_of_what_a_gpu_does_is_missing_but_what_such_a_board_lacks() -> None:
    board, _ = of(Gpu, tuple(look(Gpus(SimulatedDriver()))))

    lacking = {name for name in declarations(Gpu) if getattr(board, name) in (None, {})}

    assert {"encoder_utilization_ratio", "decoder_utilization_ratio"} >= lacking


def test_every_reason_is_told_for_which_its_clocks_may_be_held_back() -> None:
    throttle, _ = of(GpuThrottle, tuple(look(Gpus(SimulatedDriver()))))

    assert {"idle", "sw_thermal", "hw_thermal"} <= throttle.throttle.keys()


def test_its_energy_only_grows() -> None:
    gpus = Gpus(SimulatedDriver())

    energy = [of(Gpu, tuple(look(gpus)))[0].energy_joules or 0.0 for _ in range(3)]

    assert energy == sorted(energy)


def test_a_lost_gpu_comes_back_once_nothing_is_wrong() -> None:
    driver = SimulatedDriver()
    gpus = Gpus(driver)
    seen = []
    for trouble in (Trouble.NONE, Trouble.LOST, Trouble.NONE):
        driver.befalls(trouble)

        seen.append({gpu.gpu: gpu.up for gpu in of(GpuPresence, tuple(look(gpus)))})

    assert seen == [{"0": True, "1": True}, {"0": True, "1": False}, {"0": True, "1": True}]


def test_an_xid_is_told_once() -> None:
    driver = SimulatedDriver()
    driver.befalls(Trouble.XID)

    told = [Respondent(driver).numbers("nvmlEventSetWait_v2").get("eventData") for _ in range(2)]

    assert told == [79, None]


def test_a_function_that_is_not_simulated_is_not_answered() -> None:
    assert Respondent(SimulatedDriver()).number("nvmlDeviceGetKettles") is None
