"""GPUs that there are not: a driver whose answers are simulated, asked by the names of NVML's own functions."""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from types import SimpleNamespace

from exporter.nvml import Cost, Lost, Respondent
from exporter.nvml.events import Event

NAME = "Simulated H100 80GB HBM3"
GIB = 2**30
MEMORY, RESERVED, MODELS = 80 * GIB, GIB // 2, 68 * GIB
IDLE_WATTS, PEAK_WATTS, LIMIT_WATTS = 115.0, 640.0, 700.0
ROOM_CELSIUS, CELSIUS_AT_LIMIT, CELSIUS_UNCOOLED, THROTTLES_AT = 28.0, 72.0, 96.0, 85.0
FASTEST_MHZ = {0: 1980, 1: 1980, 2: 2619, 3: 1545}
IDLE_MHZ, THROTTLED_MHZ = 345, 990
POWER_SETTLES, HEAT_SETTLES = 1.5, 4.0  # Seconds; a real board takes minutes to warm.
IDLE, SW_THERMAL, HW_THERMAL, EVERY_REASON = 0x1, 0x20, 0x40, 0x1FF
XID_EVENT, OFF_THE_BUS = 0x8, 79


class Trouble(StrEnum):
    """What is wrong with the GPUs."""

    NONE = "none"
    SPINNING = "spinning"
    """The model's is said to be busy, and draws as little as an idle one."""
    HOT = "hot"
    """The model's is not cooled."""
    LOST = "lost"
    """The other one does not answer."""
    XID = "xid"
    """The other one tells of an Xid, and then does not answer."""


class Board:
    """One GPU, whose figures move towards what its load makes of them."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.load = 0.0
        self.spinning = False
        self.cooled = True
        self.processes: Mapping[int, int] = {}
        self.watts = IDLE_WATTS
        self.celsius = ROOM_CELSIUS + 6
        self.joules = 0.0
        self._at = time.monotonic()

    def live(self) -> None:
        """Move on to now."""
        passed, self._at = time.monotonic() - self._at, time.monotonic()
        drawn = IDLE_WATTS + (PEAK_WATTS - IDLE_WATTS) * math.sqrt(self.load)
        if self.throttled:
            drawn *= 0.6
        self.watts = _nearer(self.watts, drawn * random.uniform(0.98, 1.02), passed / POWER_SETTLES)  # noqa: S311
        warm = ROOM_CELSIUS + (CELSIUS_AT_LIMIT - ROOM_CELSIUS) * self.watts / LIMIT_WATTS
        self.celsius = _nearer(self.celsius, warm if self.cooled else CELSIUS_UNCOOLED, passed / HEAT_SETTLES)
        self.joules += self.watts * passed

    @property
    def uuid(self) -> str:
        """What it is called."""
        return f"GPU-51501a7e-d000-0000-0000-{self.index:012}"

    @property
    def throttled(self) -> bool:
        """Whether it is slowed down, since it is too hot."""
        return self.celsius >= THROTTLES_AT

    @property
    def busy(self) -> int:
        """Percent of the time in which any kernel runs."""
        return 100 if self.spinning else min(round(100 * self.load**0.3), 100)

    @property
    def reasons(self) -> int:
        """Why the clocks are not the fastest, as bits."""
        return SW_THERMAL | HW_THERMAL if self.throttled else 0 if self.busy else IDLE

    def mhz(self, kind: int) -> int:
        """How fast a clock runs."""
        if kind == 2:  # noqa: PLR2004  memory keeps its pace
            return FASTEST_MHZ[kind]
        return min(FASTEST_MHZ[kind], THROTTLED_MHZ if self.throttled else 9999 if self.busy else IDLE_MHZ)

    @property
    def memory(self) -> SimpleNamespace:
        """Its memory, by use."""
        used = sum(self.processes.values())
        return SimpleNamespace(total=MEMORY, used=used, free=MEMORY - RESERVED - used, reserved=RESERVED)


def _nearer(now: float, aim: float, times: float) -> float:
    return aim + (now - aim) * math.exp(-times)


OF_THE_DRIVER: Mapping[str, object] = {
    "nvmlDeviceGetCount": 2,
    "nvmlSystemGetDriverVersion": "simulated",
    "nvmlSystemGetNVMLVersion": "simulated",
    "nvmlSystemGetCudaDriverVersion": 13000,
}

OF_A_BOARD: Mapping[str, Callable[..., object]] = {
    "nvmlDeviceGetUUID": lambda board: board.uuid,
    "nvmlDeviceGetName": lambda _: NAME,
    "nvmlDeviceGetPciInfo": lambda board: SimpleNamespace(busId=f"00000000:{0x1A + board.index:02X}:00.0"),
    "nvmlDeviceGetVbiosVersion": lambda _: "simulated",
    "nvmlDeviceGetArchitecture": lambda _: 9,
    "nvmlDeviceGetCudaComputeCapability": lambda _: (9, 0),
    "nvmlDeviceGetUtilizationRates": lambda board: SimpleNamespace(gpu=board.busy, memory=round(60 * board.load)),
    "nvmlDeviceGetMemoryInfo": lambda board, *_version: board.memory,
    "nvmlDeviceGetPowerUsage": lambda board: round(board.watts * 1000),
    "nvmlDeviceGetEnforcedPowerLimit": lambda _: round(LIMIT_WATTS * 1000),
    "nvmlDeviceGetPowerManagementLimit": lambda _: round(LIMIT_WATTS * 1000),
    "nvmlDeviceGetPowerManagementDefaultLimit": lambda _: round(LIMIT_WATTS * 1000),
    "nvmlDeviceGetPowerManagementLimitConstraints": lambda _: (200_000, round(LIMIT_WATTS * 1000)),
    "nvmlDeviceGetTotalEnergyConsumption": lambda board: round(board.joules * 1000),
    "nvmlDeviceGetTemperature": lambda board, _sensor: round(board.celsius),
    "nvmlDeviceGetClockInfo": lambda board, kind: board.mhz(kind),
    "nvmlDeviceGetMaxClockInfo": lambda _, kind: FASTEST_MHZ[kind],
    "nvmlDeviceGetPerformanceState": lambda _: 0,
    "nvmlDeviceGetSupportedClocksEventReasons": lambda _: EVERY_REASON,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda board: board.reasons,
    "nvmlDeviceGetComputeRunningProcesses_v3": lambda board: [
        SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in board.processes.items()
    ],
}


class SimulatedDriver:
    """A driver with two GPUs, of which the first is the model's; asked on one thread, told of it on another."""

    def __init__(self) -> None:
        self.processes: Mapping[int, int] = {}
        """The model's, and how much memory it holds; none while it is dead."""
        self.load = 0.0
        """The share of its GPU that the model has use for, while it lives."""
        self._trouble = Trouble.NONE
        self._boards = (Board(0), Board(1))
        self._events: deque[SimpleNamespace] = deque()

    def befalls(self, trouble: Trouble) -> None:
        """This, and nothing else, is now wrong."""
        self._trouble = trouble
        self._events.clear()
        if trouble is Trouble.XID:
            self._events.append(SimpleNamespace(eventType=XID_EVENT, eventData=OFF_THE_BUS, device=self._boards[1]))

    def open(self) -> bool:
        """Nothing is to be opened."""
        return False

    def release(self) -> None:
        """Nothing is held."""

    def driver(self) -> Respondent:
        """The driver as a whole."""
        return Respondent(self)

    def gpu(self, index: int) -> Respondent:
        """The GPU at an index."""
        return Respondent(self, self._boards[index])

    def events(self) -> "SimulatedEvents":
        """Where its Xids are heard."""
        return SimulatedEvents(self)

    def told(self, function: str, *arguments: object) -> object:
        """What that function of NVML would answer; None for one that is not simulated. Raises Lost of a lost GPU."""
        if function == "nvmlEventSetWait_v2":
            with suppress(IndexError):
                return self._events.popleft()
            return None
        if function in OF_THE_DRIVER:
            return OF_THE_DRIVER[function]
        for board in arguments:
            if isinstance(board, Board):
                self._befall(board)
        return OF_A_BOARD[function](*arguments) if function in OF_A_BOARD else None

    def ask_anew(self) -> None:
        """Nothing is remembered."""

    def costs(self) -> Mapping[str, Cost]:
        """Nothing is measured."""
        return {}

    def _befall(self, board: Board) -> None:
        """Bring a board to what it is now; raises Lost where it is."""
        if board.index == 1 and self._trouble in {Trouble.LOST, Trouble.XID}:
            raise Lost
        if board.index == 0:
            board.processes = self.processes
            board.load = self.load if board.processes else 0.0
            board.spinning = self._trouble is Trouble.SPINNING
            board.cooled = self._trouble is not Trouble.HOT
        board.live()


class SimulatedEvents:
    """The Xids of the simulated driver, which are waited for on a thread of their own."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self._driver = driver

    def open(self) -> None:
        """Nothing is to be opened."""

    def register(self, _uuid: str, _index: int) -> bool:
        """Every GPU can be watched."""
        return True

    def next(self, seconds: float) -> Event | None:
        """The Xid that came, or none after a while."""
        told = self._driver.told("nvmlEventSetWait_v2")
        if isinstance(told, SimpleNamespace):
            return Event(uuid=told.device.uuid, xid=told.eventData)
        time.sleep(seconds)
        return None

    def close(self) -> None:
        """Nothing is held."""
