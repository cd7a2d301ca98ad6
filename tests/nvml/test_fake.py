"""The stand-in for the driver's library, asked by the real pynvml: what it answers, and what real drivers do."""

import ctypes
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pynvml as nvml
import pytest

from tests.nvml.boards import NAMES, words
from tests.nvml.driver import Driver, require_compiler
from tests.nvml.opened import load

require_compiler()

Start = Callable[..., Driver]

PATIENCE = 30.0
XID = nvml.nvmlEventTypeXidCriticalError
NO_INSTANCE = 0xFFFFFFFF
EVERY_LINK = 0xFFFFFFFF
MIB = 1 << 20

TOLD = """
import os, pynvml as nvml
def told(ask):
    try:
        return ask()
    except nvml.NVMLError as error:
        return error.value
"""

FORKED = """
nvml.nvmlInit()
gpu = nvml.nvmlDeviceGetHandleByIndex(0)
if os.fork() == 0:
    before = told(lambda: nvml.nvmlDeviceGetPowerUsage(gpu))
    nvml.nvmlInit()
    print(before, told(lambda: nvml.nvmlDeviceGetPowerUsage(nvml.nvmlDeviceGetHandleByIndex(0))), flush=True)
    os._exit(0)
os.wait()
print(told(lambda: nvml.nvmlDeviceGetPowerUsage(gpu)))
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A driver of some boards, that the pynvml of this process has loaded and initialised."""

    def start(*boards: str, lacks: Sequence[str] = (), **said: object) -> Driver:
        driver = Driver(tmp_path, lacks=lacks, board=boards or "h100")
        driver.script({word.replace("__", "."): value for word, value in said.items()})
        load(driver, monkeypatch)
        nvml.nvmlInit()
        return driver

    return start


def code(ask: Callable[..., object], *arguments: object) -> int:
    """What a call returns: 0, or the number of its error."""
    try:
        ask(*arguments)
    except nvml.NVMLError as error:
        value: int = error.value
        return value
    return 0


def gpu(index: int = 0) -> Any:  # noqa: ANN401  as pynvml has it
    return nvml.nvmlDeviceGetHandleByIndex(index)


def mig(slot: int) -> Any:  # noqa: ANN401  as pynvml has it
    return nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu(), slot)


def fields(*asked: int | tuple[int, int]) -> list[Any]:
    return list(nvml.nvmlDeviceGetFieldValues(gpu(), list(asked)))


def numbers(*asked: int | tuple[int, int]) -> list[int | None]:
    """What fields tell as whole numbers; None where their own code is an error."""
    return [field.value.ullVal if field.nvmlReturn == 0 else None for field in fields(*asked)]


def sampled(take: Callable[[Any], object]) -> Any:  # noqa: ANN401  as pynvml has it
    sample = nvml.nvmlGpmSampleAlloc()
    take(sample)
    return sample


def between(first: object, second: object, *ids: int) -> list[tuple[int, float]]:
    """What GPM says was done between two samples: a code and a value for each metric."""
    asked = nvml.c_nvmlGpmMetricsGet_t(version=1, numMetrics=len(ids), sample1=first, sample2=second)
    for place, each in enumerate(ids):
        asked.metrics[place].metricId = each
    nvml.nvmlGpmMetricsGet(asked)
    return [(asked.metrics[place].nvmlReturn, asked.metrics[place].value) for place in range(len(ids))]


def ran(driver: Driver, program: str) -> list[str]:
    """What a process of its own prints, which loads the library where it lies."""
    command = [sys.executable, "-c", TOLD + program]
    return subprocess.run(command, env=driver.environment, capture_output=True, text=True, check=True).stdout.split()


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


# What boards answer


@pytest.mark.parametrize("board", NAMES)
def test_every_board_tells_what_it_is_and_does(start: Start, board: str) -> None:
    driver = start(board)

    idle = nvml.nvmlDeviceGetPowerUsage(gpu())
    driver.script(words(board, 0, load=True))

    assert nvml.nvmlDeviceGetName(gpu())
    assert 20 < nvml.nvmlDeviceGetTemperatureV(gpu(), 0) < 90
    assert nvml.nvmlDeviceGetPowerUsage(gpu()) > idle or board == "l40s"  # recorded just after a load
    assert nvml.nvmlDeviceGetComputeRunningProcesses(gpu())


@pytest.mark.parametrize("board", NAMES)
def test_every_board_says_where_its_answers_come_from(board: str) -> None:
    text = (Path(__file__).parent / "boards" / f"{board}.toml").read_text()

    assert "\nsource = " in text
    assert "\ninferred = " in text


@pytest.mark.parametrize(
    ("function", "refusing"),
    [
        ("nvmlDeviceGetUtilizationRates", {"h100-mig"}),
        ("nvmlDeviceGetEncoderUtilization", {"h100-mig"}),
        ("nvmlDeviceGetMemoryInfo", {"gb10"}),
        ("nvmlDeviceGetBAR1MemoryInfo", {"gb10"}),
        ("nvmlDeviceGetEnforcedPowerLimit", {"gb10"}),
        ("nvmlDeviceGetMarginTemperature", {"a100", "gb10", "t4"}),
        ("nvmlDeviceGetRemappedRows", {"gb10", "h100-mig", "t4"}),
        ("nvmlDeviceGetEccMode", {"gb10"}),
        ("nvmlDeviceGetMigMode", {"gb10", "l40s", "t4"}),
        ("nvmlDeviceGetFanSpeed", {*NAMES}),
        ("nvmlDeviceGetSerial", {"gb10"}),
    ],
)
def test_a_board_refuses_what_it_does_not_have(start: Start, function: str, refusing: set[str]) -> None:
    start(*NAMES)

    refused = {board for index, board in enumerate(NAMES) if code(getattr(nvml, function), gpu(index)) == 3}

    assert refused == refusing


def test_some_fields_are_refused_by_some_boards(start: Start) -> None:
    start("t4")

    assert numbers(82, 138, 142, 193) == [None] * 4
    assert numbers(29, 30, 31, 83, 185) == [0, 0, 0, 600000, 9650]


def test_gpm_is_said_to_be_there_on_hopper_alone(start: Start) -> None:
    start(*NAMES)

    supported = {
        board for index, board in enumerate(NAMES) if nvml.nvmlGpmQueryDeviceSupport(gpu(index)).isSupportedDevice
    }

    assert supported == {"h100", "h100-mig", "h200"}


def test_a_driver_has_several_of_one_board(start: Start) -> None:
    driver = start()
    driver.script({"gpus": 3, "gpu.1.temperature": 77})

    assert [nvml.nvmlDeviceGetTemperature(gpu(index), 0) for index in range(3)] == [41, 77, 41]
    assert len({nvml.nvmlDeviceGetUUID(gpu(index)) for index in range(3)}) == 3


def test_a_gpu_is_found_by_what_it_is_called(start: Start) -> None:
    driver = start()
    driver.script({"gpus": 2})
    second = gpu(1)

    by_uuid = nvml.nvmlDeviceGetHandleByUUID(nvml.nvmlDeviceGetUUID(second))
    by_address = nvml.nvmlDeviceGetHandleByPciBusId(nvml.nvmlDeviceGetPciInfo(second).busId)

    assert [nvml.nvmlDeviceGetIndex(each) for each in (by_uuid, by_address)] == [1, 1]
    assert code(nvml.nvmlDeviceGetHandleByUUID, "GPU-of-others") == 6


# What a script can say


def test_a_value_is_what_the_script_says_from_the_next_call_on(start: Start) -> None:
    driver = start()
    told = []
    for word in (123450, "N/A", "!999", 0xFFFFFFFF, 99000):
        driver.script({"gpu.0.power_mw": word})

        told.append(code(nvml.nvmlDeviceGetPowerUsage, gpu()) or nvml.nvmlDeviceGetPowerUsage(gpu()))

    assert told == [123450, 3, 999, 0xFFFFFFFF, 99000]


def test_two_scripts_at_once_are_never_taken_for_one(start: Start) -> None:
    driver = start()

    for power in range(1, 301):
        driver.script({"gpu.0.power_mw": power})
        assert nvml.nvmlDeviceGetPowerUsage(gpu()) == power


def test_the_last_script_of_a_measurement_is_not_looked_at_again(start: Start) -> None:
    driver = start(script__still=1)

    driver.script({"gpu.0.power_mw": 5})

    assert nvml.nvmlDeviceGetPowerUsage(gpu()) == 69850


def test_a_counter_may_grow_by_itself(start: Start) -> None:
    start(gpu__0__energy_mj="1000+1000000000/s")

    first = nvml.nvmlDeviceGetTotalEnergyConsumption(gpu())
    time.sleep(0.01)

    assert 1000 < first < nvml.nvmlDeviceGetTotalEnergyConsumption(gpu())


def test_a_function_returns_any_code_for_all_gpus_or_for_one(start: Start) -> None:
    start(gpus=2, result__nvmlDeviceGetName=999, result__1__nvmlDeviceGetSerial=4)

    assert [code(nvml.nvmlDeviceGetName, gpu(index)) for index in (0, 1)] == [999, 999]
    assert [code(nvml.nvmlDeviceGetSerial, gpu(index)) for index in (0, 1)] == [0, 4]


@pytest.mark.parametrize("how", [15, 16])
def test_a_lost_gpu_answers_nowhere_and_comes_back(start: Start, how: int) -> None:
    driver = start(gpus=2)
    handles = gpu(0), gpu(1)
    uuid = nvml.nvmlDeviceGetUUID(handles[1])
    driver.script({"gpu.1.lost": how})

    lost = [
        code(nvml.nvmlDeviceGetPowerUsage, handles[1]),
        code(nvml.nvmlDeviceGetHandleByIndex, 1),
        code(nvml.nvmlDeviceGetHandleByUUID, uuid),
    ]
    untouched = code(nvml.nvmlDeviceGetPowerUsage, handles[0])
    driver.script({"gpu.1.lost": 0})

    assert lost == [how] * 3
    assert untouched == 0
    assert code(nvml.nvmlDeviceGetPowerUsage, handles[1]) == 0


def test_old_handles_die_when_the_driver_is_loaded_anew(start: Start) -> None:
    driver = start()
    old = gpu()
    driver.script({"driver.loaded": 0})

    unloaded = [code(nvml.nvmlDeviceGetPowerUsage, old), code(nvml.nvmlInit)]
    driver.script({"driver.loaded": 1, "driver.generation": 2})
    anew = [code(nvml.nvmlDeviceGetPowerUsage, old), code(nvml.nvmlInit), code(nvml.nvmlDeviceGetPowerUsage, old)]

    assert unloaded == [1, 9]
    assert anew == [1, 0, 2]
    assert code(nvml.nvmlDeviceGetPowerUsage, gpu()) == 0


@pytest.mark.parametrize("returned", [9, 18, 999])
def test_initialising_returns_any_code(start: Start, returned: int) -> None:
    driver = start()

    driver.script({"result.nvmlInitWithFlags": returned})

    assert code(nvml.nvmlInit) == returned


def test_a_library_of_another_version_than_the_drivers_is_refused_until_it_is_replaced(start: Start) -> None:
    driver = start()
    driver.install(version="580.105.08")
    initialise = "print(told(nvml.nvmlInit))"

    same = ran(driver, initialise)
    driver.script({"driver.version": "590.48.01"})
    another = ran(driver, initialise)
    driver.install(version="590.48.01")
    replaced = ran(driver, initialise)
    driver.uninstall()
    missing = ran(driver, initialise)

    assert [same, another, replaced, missing] == [["None"], ["18"], ["None"], ["12"]]


def test_no_gpus_may_be_an_error_of_initialising(start: Start) -> None:
    driver = start()
    driver.script({"gpus": 0})

    assert code(nvml.nvmlInit) == 28
    assert code(nvml.nvmlInitWithFlags, 1) == 0


def test_a_forked_child_has_to_initialise_for_itself(tmp_path: Path) -> None:
    driver = Driver(tmp_path)

    assert ran(driver, FORKED) == ["1", "69850", "69850"]


def test_a_function_that_an_older_driver_lacks_is_not_found(start: Start) -> None:
    start(lacks=["nvmlDeviceGetTemperatureV"])

    assert code(nvml.nvmlDeviceGetTemperatureV, gpu(), 0) == 13
    assert nvml.nvmlDeviceGetTemperature(gpu(), 0) == 41


# What hangs


def test_a_call_hangs_for_as_long_as_it_is_told_to(start: Start) -> None:
    driver = start()
    handle = gpu()
    driver.script({"hang.nvmlDeviceGetPowerUsage": "forever"})

    with ThreadPoolExecutor() as threads:
        hung = threads.submit(nvml.nvmlDeviceGetPowerUsage, handle)
        until(lambda: driver.hanging() == ["nvmlDeviceGetPowerUsage"])
        another = code(nvml.nvmlDeviceGetName, handle)
        done = hung.done()
        driver.script({"hang.nvmlDeviceGetPowerUsage": None, "gpu.0.power_mw": 5})

        assert hung.result(PATIENCE) == 5
    assert another == 0
    assert not done
    assert driver.hanging() == []


def test_a_hung_gpu_may_hold_up_the_others(start: Start) -> None:
    driver = start(gpus=2)
    handles = gpu(0), gpu(1)
    driver.script({"hang.0.*": "forever", "hang.lock": 1})

    with ThreadPoolExecutor() as threads:
        hung = threads.submit(nvml.nvmlDeviceGetPowerUsage, handles[0])
        until(lambda: bool(driver.hanging()))
        waiting = threads.submit(nvml.nvmlDeviceGetPowerUsage, handles[1])
        time.sleep(0.1)
        done = waiting.done()
        driver.script({"hang.0.*": 0})

        assert [each.result(PATIENCE) for each in (hung, waiting)] == [69850, 69850]
    assert not done


# What is written down


def test_every_call_is_written_down_with_its_thread_and_its_code(start: Start) -> None:
    driver = start()
    driver.forget_calls()
    before = time.monotonic()

    code(nvml.nvmlDeviceGetFanSpeed, gpu())

    found, asked = driver.calls()
    assert (found.function, found.gpu, found.result) == ("nvmlDeviceGetHandleByIndex_v2", 0, 0)
    assert (asked.function, asked.gpu, asked.result, asked.instance) == ("nvmlDeviceGetFanSpeed", 0, 3, -1)
    assert asked.process == asked.thread == os.getpid()
    assert before - 0.001 <= found.at <= asked.at <= time.monotonic()


# Fields


def test_a_field_has_its_own_code_type_and_scope(start: Start) -> None:
    driver = start()
    driver.script(
        {
            "gpu.0.memory_temperature": 54,
            "gpu.0.field.185.1": 812000,
            "gpu.0.power_instant_mw": "!999",
            "gpu.0.field.9": "f64:nan",
        }
    )

    told = {
        (field.fieldId, field.scopeId): field
        for field in fields(82, 185, (185, 1), (185, 2), 186, 193, 9, 83, 300, 5000)
    }

    assert {asked: field.nvmlReturn for asked, field in told.items() if field.nvmlReturn} == {
        (185, 2): 3,
        (186, 0): 999,
        (300, 0): 2,
        (5000, 0): 2,
    }
    assert {asked[0]: field.valueType for asked, field in told.items() if not field.nvmlReturn} == {
        82: nvml.NVML_VALUE_TYPE_UNSIGNED_INT,
        185: nvml.NVML_VALUE_TYPE_UNSIGNED_INT,
        193: nvml.NVML_VALUE_TYPE_SIGNED_INT,
        9: nvml.NVML_VALUE_TYPE_DOUBLE,
        83: nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG,
    }
    assert told[82, 0].value.uiVal == 54
    assert [told[185, scope].value.uiVal for scope in (0, 1)] == [69850, 812000]
    assert math.isnan(told[9, 0].value.dVal)


def test_a_limit_below_zero_is_a_large_number_to_who_ignores_its_type(start: Start) -> None:
    start()

    (limit,) = fields(193)

    assert limit.value.siVal == -5
    assert limit.value.uiVal == 4294967291


def test_a_field_may_claim_a_type_that_it_does_not_have(start: Start) -> None:
    start(gpu__0__field_type__82=nvml.NVML_VALUE_TYPE_DOUBLE)

    (temperature,) = fields(82)

    assert temperature.valueType == nvml.NVML_VALUE_TYPE_DOUBLE
    assert temperature.value.uiVal == 48
    assert temperature.value.dVal < 1e-300


def test_an_older_driver_does_not_know_newer_fields(start: Start) -> None:
    start(driver__fields=230)

    assert [field.nvmlReturn for field in fields(83, 230)] == [0, 2]


def test_nvlink_is_told_by_link_and_for_all_of_them(start: Start) -> None:
    driver = start()
    driver.script({"gpu.0.nvlink.transmitted_kib": 18000, "gpu.0.nvlink.3.errors.crc": 7, "gpu.0.nvlink.4.state": 0})

    assert numbers((138, EVERY_LINK), (138, 0), (163, 2), (163, 3), (163, 18)) == [18000, 1000, 0, 7, None]
    assert numbers(91, (165, 3), (165, 4)) == [18, 1, 0]
    assert [nvml.nvmlDeviceGetNvLinkState(gpu(), link) for link in (3, 4)] == [1, 0]
    assert code(nvml.nvmlDeviceGetNvLinkState, gpu(), 18) == 2
    assert nvml.nvmlDeviceGetNvLinkErrorCounter(gpu(), 3, nvml.NVML_NVLINK_ERROR_DL_CRC_DATA) == 7


def test_some_fields_are_added_to_what_an_array_held_before(start: Start) -> None:
    start(gpu__0__nvlink__received_kib=500)
    array = (nvml.c_nvmlFieldValue_t * 1)()
    array[0].fieldId, array[0].scopeId = 139, EVERY_LINK

    for _ in range(2):
        nvml._nvmlGetFunctionPointer("nvmlDeviceGetFieldValues")(gpu(), 1, ctypes.byref(array))

    assert array[0].value.ullVal == 1000


def test_a_field_and_a_function_tell_the_same(start: Start) -> None:
    driver = start()
    driver.script(
        {
            "gpu.0.ecc.uncorrected.volatile": 3,
            "gpu.0.violation.1": 12_000,
            "gpu.0.remapped_uncorrectable": 2,
            "gpu.0.pcie_replays": 5,
        }
    )

    assert numbers(4, 75, 143, 94) == [3, 12_000, 2, 5]
    assert nvml.nvmlDeviceGetTotalEccErrors(gpu(), 1, 0) == 3
    assert nvml.nvmlDeviceGetViolationStatus(gpu(), 1).violationTime == 12_000
    assert nvml.nvmlDeviceGetRemappedRows(gpu()) == (0, 2, 0, 0)
    assert nvml.nvmlDeviceGetPcieReplayCounter(gpu()) == 5


# Faults, clocks and all that one function tells each


def test_errors_of_memory_are_told_by_place(start: Start) -> None:
    start(gpu__0__ecc_at__dram__corrected__aggregate=9, gpu__0__ecc__corrected__aggregate=9)

    assert nvml.nvmlDeviceGetMemoryErrorCounter(gpu(), 0, 1, nvml.NVML_MEMORY_LOCATION_DRAM) == 9
    assert nvml.nvmlDeviceGetDetailedEccErrors(gpu(), 0, 1).deviceMemory == 9
    assert code(nvml.nvmlDeviceGetMemoryErrorCounter, gpu(), 0, 1, nvml.NVML_MEMORY_LOCATION_CBU) == 3


def test_retired_pages_are_listed_by_cause(start: Start) -> None:
    driver = start("t4")
    driver.script({"gpu.0.retired.double_bit": 2, "gpu.0.retired_pending": 1})

    assert [len(nvml.nvmlDeviceGetRetiredPages(gpu(), cause)) for cause in (0, 1)] == [0, 2]
    assert len(nvml.nvmlDeviceGetRetiredPages_v2(gpu(), 1)) == 2
    assert nvml.nvmlDeviceGetRetiredPagesPendingStatus(gpu()) == 1


def test_reasons_are_told_under_their_new_name_and_their_old(start: Start) -> None:
    start(gpu__0__reasons=0x24)

    assert nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu()) == 0x24
    assert nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu()) == 0x24
    assert nvml.nvmlDeviceGetSupportedClocksEventReasons(gpu()) == 511


def test_a_board_with_fans_tells_each(start: Start) -> None:
    driver = start()
    driver.script({"gpu.0.fans": 2, "gpu.0.fan.0": 30, "gpu.0.fan.1": 107, "gpu.0.fan_rpm": 1450})

    assert nvml.nvmlDeviceGetNumFans(gpu()) == 2
    assert [nvml.nvmlDeviceGetFanSpeed_v2(gpu(), fan) for fan in (0, 1)] == [30, 107]
    assert nvml.nvmlDeviceGetFanSpeedRPM(gpu()) == 1450


def test_every_other_question_has_its_answer(start: Start) -> None:
    start("a100")

    assert nvml.nvmlDeviceGetJpgUtilization(gpu()) == [0, 1000000]
    assert nvml.nvmlDeviceGetOfaUtilization(gpu()) == [0, 1000000]
    assert nvml.nvmlDeviceGetTemperatureThreshold(gpu(), nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN) == 89
    assert nvml.nvmlDeviceGetRowRemapperHistogram(gpu()).max == 640
    assert nvml.nvmlDeviceGetCurrPcieLinkGeneration(gpu()) == 4
    assert nvml.nvmlDeviceGetMaxPcieLinkWidth(gpu()) == 16
    assert nvml.nvmlDeviceGetClock(gpu(), 0, nvml.NVML_CLOCK_ID_APP_CLOCK_TARGET) == 1095
    assert nvml.nvmlDeviceGetBAR1MemoryInfo(gpu()).bar1Total == 64 << 30
    assert nvml.nvmlDeviceGetMinorNumber(gpu()) == 0
    assert nvml.nvmlSystemGetCudaDriverVersion() == 13000


# Processes


def test_processes_are_told_with_and_without_memory_and_by_kind(start: Start) -> None:
    driver = start()
    driver.script(
        {
            "gpu.0.processes": "11:1048576,12:N/A,13:5:2:0",
            "gpu.0.mps_processes": "14:7",
            "gpu.0.graphics_processes": "15:8",
        }
    )

    compute = nvml.nvmlDeviceGetComputeRunningProcesses_v3(gpu())

    assert [(each.pid, each.usedGpuMemory, each.gpuInstanceId) for each in compute] == [
        (11, 1048576, NO_INSTANCE),
        (12, None, NO_INSTANCE),
        (13, 5, 2),
    ]
    assert [each.pid for each in nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3(gpu())] == [14]
    assert [each.pid for each in nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(gpu())] == [15]


# Xids


def test_xids_are_told_to_who_waits_and_not_those_from_before(start: Start) -> None:
    driver = start(gpus=2)
    driver.script({"xid.1": "0:13"})
    events = nvml.nvmlEventSetCreate()
    for index in (0, 1):
        nvml.nvmlDeviceRegisterEvents(gpu(index), XID, events)

    quiet = code(nvml.nvmlEventSetWait_v2, events, 5)
    driver.script({"xid.2": "1:31", "xid.3": "0:79:2:0"})
    told = [nvml.nvmlEventSetWait_v2(events, 1000) for _ in range(2)]

    assert quiet == 10
    assert [(nvml.nvmlDeviceGetIndex(each.device), each.eventData, each.gpuInstanceId) for each in told] == [
        (1, 31, NO_INSTANCE),
        (0, 79, 2),
    ]
    assert code(nvml.nvmlEventSetWait_v2, events, 0) == 10
    assert code(nvml.nvmlEventSetFree, events) == 0


def test_an_xid_ends_a_wait(start: Start) -> None:
    driver = start()
    events = nvml.nvmlEventSetCreate()
    nvml.nvmlDeviceRegisterEvents(gpu(), XID, events)

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(nvml.nvmlEventSetWait_v2, events, 60_000)
        time.sleep(0.05)
        answered = nvml.nvmlDeviceGetPowerUsage(gpu())
        driver.script({"xid.1": "0:79"})

        assert waiting.result(PATIENCE).eventData == 79
    assert answered == 69850


def test_the_newest_wait_tells_the_uuid(start: Start) -> None:
    driver = start()
    events = nvml.nvmlEventSetCreate()
    nvml.nvmlDeviceRegisterEvents(gpu(), XID, events)
    driver.script({"xid.1": "0:48"})
    told = nvml.c_nvmlEventSetWait_v3_t(timeoutMs=1000)

    nvml.nvmlEventSetWait_v3(events, told)

    assert (told.uuid, told.eventData) == (nvml.nvmlDeviceGetUUID(gpu()), 48)


def test_a_wait_returns_at_once_and_for_ever_while_a_gpu_is_lost(start: Start) -> None:
    driver = start(gpus=2)
    events = nvml.nvmlEventSetCreate()
    for index in (0, 1):
        nvml.nvmlDeviceRegisterEvents(gpu(index), XID, events)
    driver.script({"gpu.1.lost": 1, "xid.1": "1:79"})

    assert nvml.nvmlEventSetWait_v2(events, 60_000).eventData == 79
    assert [code(nvml.nvmlEventSetWait_v2, events, 60_000) for _ in range(3)] == [15] * 3


def test_a_wait_ends_when_the_driver_is_unloaded(start: Start) -> None:
    driver = start()
    events = nvml.nvmlEventSetCreate()
    nvml.nvmlDeviceRegisterEvents(gpu(), XID, events)

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(code, nvml.nvmlEventSetWait_v2, events, 60_000)
        driver.script({"driver.loaded": 0})

        assert waiting.result(PATIENCE) == 1


# MIG


def test_a_gpu_is_split_into_instances_with_a_gap(start: Start) -> None:
    start("h100-mig")

    codes = [code(mig, slot) for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu()))]
    here = [mig(slot) for slot in (0, 1, 3)]

    assert codes == [0, 0, 6, 0, 6, 6, 6]
    assert [nvml.nvmlDeviceGetGpuInstanceId(each) for each in here] == [1, 5, 13]
    assert [nvml.nvmlDeviceGetComputeInstanceId(each) for each in here] == [0, 0, 0]
    assert [nvml.nvmlDeviceGetName(each)[-8:] for each in here] == [" 3g.40gb", " 2g.20gb", " 1g.10gb"]
    assert [nvml.nvmlDeviceGetMemoryInfo(each, nvml.nvmlMemory_v2).used // MIB for each in here] == [20, 13, 9]
    assert nvml.nvmlDeviceGetAttributes(here[1]).gpuInstanceSliceCount == 2
    assert len({nvml.nvmlDeviceGetUUID(each) for each in here}) == 3
    assert nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(here[2])) == 0
    assert nvml.nvmlDeviceGetHandleByUUID(nvml.nvmlDeviceGetUUID(here[2]))


@pytest.mark.parametrize("function", ["UtilizationRates", "PowerUsage", "PerformanceState", "TotalEnergyConsumption"])
def test_an_instance_refuses_what_only_a_whole_gpu_tells(start: Start, function: str) -> None:
    start("h100-mig")

    assert code(getattr(nvml, f"nvmlDeviceGet{function}"), mig(0)) == 3


def test_a_whole_gpu_lists_the_processes_of_its_instances(start: Start) -> None:
    driver = start("h100-mig")
    driver.script({"gpu.0.mig.0.processes": "11:1000", "gpu.0.mig.3.processes": "12:50"})

    whole = nvml.nvmlDeviceGetComputeRunningProcesses(gpu())

    assert [(each.pid, each.gpuInstanceId) for each in whole] == [(11, 1), (12, 13)]
    assert [each.pid for each in nvml.nvmlDeviceGetComputeRunningProcesses(mig(3))] == [12]


def test_mig_may_be_changed_while_it_runs(start: Start) -> None:
    driver = start("h100-mig")
    old = mig(1)

    driver.script({"gpu.0.mig.1.ids": "none", "gpu.0.mig.2.ids": "6:0"})
    changed = [code(mig, slot) for slot in range(4)], code(nvml.nvmlDeviceGetUUID, old)
    driver.script({"gpu.0.mig_mode": 0})
    whole = [code(mig, slot) for slot in range(4)]
    driver.script({"gpu.0.utilization": 12})

    assert changed == ([0, 6, 0, 0], 2)
    assert whole == [6] * 4
    assert nvml.nvmlDeviceGetUtilizationRates(gpu()).gpu == 12


# GPM


def test_two_samples_tell_what_was_done_between_them(start: Start) -> None:
    driver = start()
    driver.script({"gpu.0.gpm.2": 80, "gpu.0.gpm.5": "!4", "gpu.0.gpm.10": "nan"})
    first = sampled(lambda sample: nvml.nvmlGpmSampleGet(gpu(), sample))
    time.sleep(0.02)
    second = sampled(lambda sample: nvml.nvmlGpmSampleGet(gpu(), sample))

    activity, refused, unknown, missing = between(first, second, 2, 5, 10, 400)

    assert activity[0] == 0
    assert activity[1] == pytest.approx(80, rel=1e-3)
    assert refused == (4, 0)
    assert math.isnan(unknown[1])
    assert missing == (3, 0)


def test_an_activity_that_changed_between_two_samples_counts_for_its_share_of_the_time(start: Start) -> None:
    driver = start()
    samples = []
    stamps = []
    for activity in (0, 100, 20):
        driver.script({"gpu.0.gpm.2": activity})
        stamps.append(time.time())
        samples.append(sampled(lambda sample: nvml.nvmlGpmSampleGet(gpu(), sample)))
        time.sleep(0.05)
    last = sampled(lambda sample: nvml.nvmlGpmSampleGet(gpu(), sample))

    ((_, at_rest),) = between(samples[0], samples[1], 2)
    ((_, at_work),) = between(samples[1], samples[2], 2)
    ((_, after),) = between(samples[2], last, 2)
    ((_, on_the_whole),) = between(samples[0], samples[2], 2)

    assert at_rest < 20
    assert at_work > 80
    assert after == pytest.approx(20, abs=1)
    assert on_the_whole == pytest.approx(100 * (stamps[2] - stamps[1]) / (stamps[2] - stamps[0]), abs=10)


def test_one_sample_twice_tells_nothing(start: Start) -> None:
    start()
    only = sampled(lambda sample: nvml.nvmlGpmSampleGet(gpu(), sample))

    ((_, value),) = between(only, only, 2)

    assert math.isnan(value)


def test_gpm_tells_of_one_instance(start: Start) -> None:
    driver = start("h100-mig")
    driver.script({"gpu.0.mig.1.gpm.2": 40})
    samples = []
    for _ in range(2):
        samples.append(sampled(lambda sample: nvml.nvmlGpmMigSampleGet(gpu(), 5, sample)))
        time.sleep(0.02)

    ((refusal, value),) = between(*samples, 2)

    assert refusal == 0
    assert value == pytest.approx(40, rel=1e-3)
    assert code(nvml.nvmlGpmMigSampleGet, gpu(), 6, samples[0]) == 2


def test_gpm_is_refused_where_the_chip_lacks_it(start: Start) -> None:
    start("l40s")

    assert code(nvml.nvmlGpmSampleGet, gpu(), nvml.nvmlGpmSampleAlloc()) == 3


# The traps of pynvml, which are the reason to have a stand-in for the library and not for the binding


def test_an_error_of_pynvml_cannot_be_a_key_nor_be_compared_with_a_number(start: Start) -> None:
    start(result__nvmlDeviceGetName=15)

    with pytest.raises(nvml.NVMLError) as caught:
        nvml.nvmlDeviceGetName(gpu())

    with pytest.raises(TypeError):
        hash(caught.value)
    with pytest.raises(AttributeError):
        _ = caught.value == 15
    assert isinstance(caught.value, nvml.NVMLError_GpuIsLost)


def test_the_plain_list_of_processes_fails_otherwise_than_by_an_error_of_nvml_on_older_drivers(start: Start) -> None:
    start(lacks=["nvmlDeviceGetMPSComputeRunningProcesses_v3"])

    with pytest.raises(nvml.NVMLLibraryMismatchError) as caught:
        nvml.nvmlDeviceGetMPSComputeRunningProcesses(gpu())

    assert not isinstance(caught.value, nvml.NVMLError)


def test_memory_is_of_the_first_version_unless_asked_otherwise(start: Start) -> None:
    start(gpu__0__memory_used=1 << 30)

    old, new = nvml.nvmlDeviceGetMemoryInfo(gpu()), nvml.nvmlDeviceGetMemoryInfo(gpu(), nvml.nvmlMemory_v2)

    assert (old.used, new.used) == ((1 << 30) + 502_267_904, 1 << 30)
    assert old.total == new.total == new.used + new.free + new.reserved
    assert code(nvml.nvmlDeviceGetMemoryInfo, gpu(), 2) == 25


def test_what_processes_do_is_an_error_when_there_are_none(start: Start) -> None:
    driver = start()
    codes = []
    for said in ("", "11:100:40:12:0:0"):
        driver.script({"gpu.0.process_utilization": said})
        codes.append(code(nvml.nvmlDeviceGetProcessUtilization, gpu(), 100))
    driver.script({"gpu.0.process_utilization": "11:200:40:12:0:0"})

    assert codes == [0, 6]
    assert nvml.nvmlDeviceGetProcessUtilization(gpu(), 100)[0].smUtil == 40


def test_samples_are_not_found_when_none_is_new(start: Start) -> None:
    start(gpu__0__samples__1="10:55,20:57")

    _, samples = nvml.nvmlDeviceGetSamples(gpu(), 1, 10)

    assert [(each.timeStamp, each.sampleValue.uiVal) for each in samples] == [(20, 57)]
    assert code(nvml.nvmlDeviceGetSamples, gpu(), 1, 20) == 6


def test_a_handle_is_another_object_each_time_and_a_number_is_none(start: Start) -> None:
    start()

    assert gpu() != gpu()
    assert code(nvml.nvmlDeviceGetPowerUsage, ctypes.cast(gpu(), ctypes.c_void_p).value) == 2


def test_whether_a_handle_is_of_an_instance_is_told_by_a_c_number(start: Start) -> None:
    start("h100-mig")

    told = [nvml.nvmlDeviceIsMigDeviceHandle(handle) for handle in (gpu(), mig(0))]

    assert [each == 1 for each in told] == [False, False]
    assert [bool(each) for each in told] == [False, True]


def test_the_firmware_is_told_in_bytes_and_a_name_may_not_be_text(start: Start) -> None:
    driver = start()
    driver.script({"gpu.0.name": "H\udcff100"})

    assert nvml.nvmlDeviceGetGspFirmwareVersion(gpu()) == b"580.105.08"
    with pytest.raises(UnicodeDecodeError):
        nvml.nvmlDeviceGetName(gpu())


def test_shutting_down_more_often_than_initialising_is_an_error(start: Start) -> None:
    start()

    assert [code(nvml.nvmlShutdown) for _ in range(2)] == [0, 1]


def test_what_one_process_is_not_told_of_memory_is_none(start: Start) -> None:
    start(gpu__0__processes="11:18446744073709551615")

    assert nvml.nvmlDeviceGetComputeRunningProcesses(gpu())[0].usedGpuMemory is None


def test_the_call_for_pcie_throughput_blocks(start: Start) -> None:
    start()
    before = time.monotonic()

    nvml.nvmlDeviceGetPcieThroughput(gpu(), 0)

    assert time.monotonic() - before >= 0.02
