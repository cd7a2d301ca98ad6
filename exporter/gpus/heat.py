"""What slows a GPU down: why its clocks are held back, now and over time, and the heat it has to get rid of."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from exporter.frozen import frozen
from exporter.nvml import Respondent, within
from exporter.nvml.door import Question
from exporter.nvml.fields import HW_POWER_BRAKE, HW_THERMAL, MEMORY_TEMPERATURE, SW_THERMAL, Field, values
from exporter.reading import Counter, Gauge, Label, Reading

REASONS = {
    "idle": 0x1,
    "application_clocks": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "hw_power_brake": 0x80,
    "display": 0x100,
}
"""The bit of each reason for which clocks are held back."""

POWER, THERMAL, SYNC_BOOST = 74, 75, 76
COUNTERS = {
    "sw_power_cap": POWER,
    "sync_boost": SYNC_BOOST,
    "sw_thermal": SW_THERMAL,
    "hw_thermal": HW_THERMAL,
    "hw_power_brake": HW_POWER_BRAKE,
}
POLICIES = {POWER: 0, THERMAL: 1, SYNC_BOOST: 2}
"""By which the function that fields have replaced tells the same."""

NANOSECONDS = 1e9
MOST_CELSIUS = 200
MOST_PERCENT = 1000
MOST_FANS = 64


@frozen
class GpuThrottle(Reading):
    """Why the clocks of one GPU are not the fastest."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    throttle: Annotated[
        Mapping[str, bool],
        Gauge(
            "Whether clocks are held back at this moment, by reason, of which idle and application_clocks are no "
            "trouble; a reason that the board cannot tell is absent.",
            by="reason",
        ),
    ]


@frozen
class GpuHeat(Reading):
    """How hot one GPU is beside its chip, what cools it, and how long it was slowed down."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    memory_temperature_celsius: Annotated[
        int | None, Gauge("How hot the memory is; absent where it has no sensor, as most without HBM.")
    ]
    temperature_margin_celsius: Annotated[
        int | None,
        Gauge(
            "How much hotter the chip may get before it is slowed down, below 0 past that; absent before Ada and "
            "driver 570."
        ),
    ]
    fan_ratio: Annotated[
        float | None,
        Gauge(
            "Speed at which the fastest fan is meant to run, which may be above 1, and whether it runs is not told; "
            "absent without fans of its own."
        ),
    ]
    throttle_seconds: Annotated[
        Mapping[str, float],
        Counter(
            "Time for which clocks were held back, also between two looks; sw_thermal is all heat where hw_thermal is "
            "not counted, as before driver 580; a reason that is not counted is absent.",
            by="reason",
        ),
    ]


class Throttle:
    """Why the clocks of GPUs are not the fastest; for the fast tier, since a reason may come and go."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def read(self, told: Respondent, gpu: str, uuid: str) -> GpuThrottle:
        """The reasons that one GPU can tell, and whether each holds now."""
        if uuid not in self._known:
            known = told.number(
                "nvmlDeviceGetSupportedClocksEventReasons", "nvmlDeviceGetSupportedClocksThrottleReasons"
            )
            self._known[uuid] = known or 0
        now = told.number("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        return GpuThrottle(gpu=gpu, uuid=uuid, throttle={} if now is None else _apart(self._known[uuid], now))

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a GPU that has gone, or whose driver was closed."""
        self._known.pop(uuid, None)


def heat(told: Respondent, gpu: str, uuid: str) -> GpuHeat:
    """How hot one GPU is and how long that held it back; for the medium tier."""
    found = values(told, MEMORY_TEMPERATURE, THERMAL, *COUNTERS.values())
    return GpuHeat(
        gpu=gpu,
        uuid=uuid,
        # Some boards without a sensor tell 0, and call it a success.
        memory_temperature_celsius=within(found.get(MEMORY_TEMPERATURE), MOST_CELSIUS, least=1),
        temperature_margin_celsius=within(
            told.number("nvmlDeviceGetMarginTemperature"), MOST_CELSIUS, least=-MOST_CELSIUS
        ),
        fan_ratio=_fan(told),
        throttle_seconds=_seconds(told, found),
    )


def _apart(known: int, now: int) -> Mapping[str, bool]:
    return {reason: bool(bit & now) for reason, bit in REASONS.items() if bit & known}


def _fan(told: Respondent) -> float | None:
    percents = [within(told.number(question), MOST_PERCENT) for question in _fans(told)]
    return max((percent / 100 for percent in percents if percent is not None), default=None)


def _fans(told: Respondent) -> Sequence[Question]:
    count = within(told.number("nvmlDeviceGetNumFans"), MOST_FANS)
    return ("nvmlDeviceGetFanSpeed",) if count is None else [("nvmlDeviceGetFanSpeed_v2", fan) for fan in range(count)]


def _seconds(told: Respondent, found: Mapping[Field, int]) -> Mapping[str, float]:
    # Older drivers count all heat together; under one reason, a sum over both is right whatever the driver.
    divided = found.keys() & {SW_THERMAL, HW_THERMAL}
    counters = COUNTERS if divided else {**COUNTERS, "sw_thermal": THERMAL}
    counted = ((reason, _counted(told, found, field)) for reason, field in counters.items())
    return {reason: nanoseconds / NANOSECONDS for reason, nanoseconds in counted if nanoseconds is not None}


def _counted(told: Respondent, found: Mapping[Field, int], field: int) -> int | None:
    if field in found or field not in POLICIES:
        return found.get(field)
    return told.numbers(("nvmlDeviceGetViolationStatus", POLICIES[field])).get("violationTime")
