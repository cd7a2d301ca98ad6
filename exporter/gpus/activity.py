"""What each GPU does: how busy it is, what it holds, draws and runs at, and what keeps it from more."""

from collections.abc import Mapping
from typing import Annotated

from exporter.frozen import frozen
from exporter.nvml import MEMORY_V2, Respondent, millions, ratio, thousandths, within
from exporter.reading import Counter, Gauge, Label, Reading

CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
CHIP = 0
THERMOMETERS = ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV")
"""The older first, which takes a third of the time; it tells nothing below zero, and from CUDA 14 on may be gone."""
SLOWEST_STATE = 15
MOST_WATTS = 25_000
MOST_CELSIUS = 200


@frozen
class GpuFastest(Reading):
    """How fast one GPU could be."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    clock_max_hertz: Annotated[
        Mapping[str, float], Gauge("Speed at most; a clock that the chip lacks is absent.", by="clock")
    ]


@frozen
class Gpu(Reading):
    """What one GPU does; whatever it cannot tell is absent."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    utilization_ratio: Annotated[
        float | None,
        Gauge("Share of the last second in which any kernel ran, however small; absent where MIG splits the GPU."),
    ]
    memory_utilization_ratio: Annotated[
        float | None,
        Gauge("Share of the last second in which memory was read or written; absent where MIG splits the GPU."),
    ]
    memory_total_bytes: Annotated[int | None, Gauge("Memory on the board; absent where it is the host's.")]
    memory_used_bytes: Annotated[
        int | None,
        Gauge("Memory in use by every process, and before driver 510 by the driver; absent where it is the host's."),
    ]
    memory_free_bytes: Annotated[int | None, Gauge("Memory that can still be had; absent where it is the host's.")]
    memory_reserved_bytes: Annotated[
        int | None,
        Gauge("Memory that the driver keeps for itself; absent where it does not tell, as before driver 510."),
    ]
    power_watts: Annotated[
        float | None, Gauge("Draw of the board, over the last second from Ampere on; absent where it is not measured.")
    ]
    power_limit_watts: Annotated[
        Mapping[str, float],
        Gauge(
            "Draw that the board keeps to, of which the enforced one counts; absent where a limit is not told.",
            by="limit",
        ),
    ]
    energy_joules: Annotated[
        float | None, Counter("Drawn since the driver was loaded, at a rate truer than any power; absent before Volta.")
    ]
    temperature_celsius: Annotated[int | None, Gauge("How hot the chip is; absent where it is not measured.")]
    clock_hertz: Annotated[Mapping[str, float], Gauge("Speed now; a clock that the chip lacks is absent.", by="clock")]
    performance_state: Annotated[
        int | None, Gauge("How fast the GPU may run, from 0, the fastest, to 15; absent where it has no such states.")
    ]

    @property
    def silent(self) -> bool:
        """Whether it tells none of what every board can tell one of."""
        told = (self.temperature_celsius, self.performance_state, self.power_watts, self.memory_total_bytes)
        return told == (None,) * len(told)


@frozen
class GpuVideo(Reading):
    """What the parts of one GPU do that are for video alone."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    encoder_utilization_ratio: Annotated[
        float | None, Gauge("Share of time the video encoder was busy; absent where there is none.")
    ]
    decoder_utilization_ratio: Annotated[
        float | None, Gauge("Share of time the video decoder was busy; absent where there is none.")
    ]


class Activity:
    """What GPUs do; the limits of their power, which seldom change, are remembered from when they were last told."""

    def __init__(self) -> None:
        self._limits: dict[str, Mapping[str, float]] = {}

    def limits(self, told: Respondent, _gpu: str, uuid: str) -> None:
        """Ask one GPU what power it keeps to."""
        constraints = told.numbers("nvmlDeviceGetPowerManagementLimitConstraints")
        self._limits[uuid] = _known(
            {
                "enforced": _watts(told.number("nvmlDeviceGetEnforcedPowerLimit")),
                "set": _watts(told.number("nvmlDeviceGetPowerManagementLimit")),
                "default": _watts(told.number("nvmlDeviceGetPowerManagementDefaultLimit")),
                "minimum": _watts(constraints.get(0)),
                "maximum": _watts(constraints.get(1)),
            }
        )

    def read(self, told: Respondent, gpu: str, uuid: str) -> Gpu:
        """What one GPU does now."""
        busy = told.numbers("nvmlDeviceGetUtilizationRates")
        memory = _memory(told)
        limits = self._limits.get(uuid, {})
        return Gpu(
            gpu=gpu,
            uuid=uuid,
            utilization_ratio=ratio(busy.get("gpu")),
            memory_utilization_ratio=ratio(busy.get("memory")),
            memory_total_bytes=memory.get("total"),
            memory_used_bytes=memory.get("used"),
            memory_free_bytes=memory.get("free"),
            memory_reserved_bytes=memory.get("reserved"),
            power_watts=_power(told, limits),
            power_limit_watts=limits,
            energy_joules=thousandths(told.number("nvmlDeviceGetTotalEnergyConsumption")),
            temperature_celsius=_temperature(told),
            clock_hertz=_clocks(told, "nvmlDeviceGetClockInfo"),
            performance_state=within(told.number("nvmlDeviceGetPerformanceState"), SLOWEST_STATE),
        )

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a GPU that has gone."""
        self._limits.pop(uuid, None)


def video(told: Respondent, gpu: str, uuid: str) -> GpuVideo:
    """What the encoder and the decoder of one GPU did."""
    return GpuVideo(
        gpu=gpu,
        uuid=uuid,
        encoder_utilization_ratio=ratio(told.numbers("nvmlDeviceGetEncoderUtilization").get(0)),
        decoder_utilization_ratio=ratio(told.numbers("nvmlDeviceGetDecoderUtilization").get(0)),
    )


def fastest(told: Respondent, gpu: str, uuid: str) -> GpuFastest:
    """How fast one GPU could be."""
    return GpuFastest(gpu=gpu, uuid=uuid, clock_max_hertz=_clocks(told, "nvmlDeviceGetMaxClockInfo"))


def _memory(told: Respondent) -> Mapping[str, int]:
    found = told.numbers(("nvmlDeviceGetMemoryInfo", MEMORY_V2), "nvmlDeviceGetMemoryInfo")
    total = found.get("total", 0)
    # A board without memory of its own may say that it has 0 bytes of it.
    parts = {part: found[part] for part in ("total", "used", "free", "reserved") if part in found and total}
    return parts if all(part <= total for part in parts.values()) else {}


def _watts(told: int | None) -> float | None:
    watts = thousandths(told)
    return watts if watts is not None and watts <= MOST_WATTS else None


def _power(told: Respondent, limits: Mapping[str, float]) -> float | None:
    drawn = thousandths(told.number("nvmlDeviceGetPowerUsage"))
    # Some drivers tell garbage and call it a success; no board draws several times its limit.
    most = 4 * max(limits.values(), default=MOST_WATTS)
    return drawn if drawn is not None and drawn <= most else None


def _temperature(told: Respondent) -> int | None:
    return next((celsius for way in THERMOMETERS if (celsius := _celsius(told, way)) is not None), None)


def _celsius(told: Respondent, function: str) -> int | None:
    return within(told.number((function, CHIP)), MOST_CELSIUS, least=-MOST_CELSIUS)


def _clocks(told: Respondent, function: str) -> Mapping[str, float]:
    return _known({name: millions(told.number((function, clock))) for name, clock in CLOCKS.items()})


def _known(values: Mapping[str, float | None]) -> Mapping[str, float]:
    return {name: value for name, value in values.items() if value is not None}
