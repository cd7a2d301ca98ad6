"""GPM, from Hopper on: two samples of what a chip counts tell what its units did in between."""

import ctypes
import math
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import pynvml

from exporter.frozen import frozen
from exporter.nvml.door import Door, Lost, Respondent
from exporter.reading import Unreadable

APART = 0.1
"""Seconds that two samples lie apart, at least: the chip makes up its counts no more often."""

LONGEST = 600.0
"""Seconds after which two samples tell nothing of now."""


class Metric(IntEnum):
    """What is asked of two samples: percent, but for what is moved, in MiB a second."""

    GRAPHICS = 1
    SM = 2
    OCCUPANCY = 3
    TENSOR = 5
    DRAM = 10
    FP64 = 11
    FP32 = 12
    FP16 = 13
    PCIE_TRANSMITTED = 20
    PCIE_RECEIVED = 21
    NVLINK_RECEIVED = 60
    NVLINK_TRANSMITTED = 61


class Part(NamedTuple):
    """A GPU, or an instance of it by its number and the UUID that tells it from another of that number."""

    uuid: str
    instance: int | None = None
    mig_uuid: str = ""


@frozen
class Stretch:
    """What a part did over some time: each metric that the driver tells."""

    seconds: float
    told: Mapping[Metric, float]


class Answer(ctypes.Structure):
    """What is told of one metric, without the binding's own look-up of a part, which takes five times as long."""

    _fields_ = pynvml.c_nvmlGpmMetric_t._fields_


@dataclass(slots=True)
class Pair:
    """The sample of a part that was taken last, and the one that is taken next."""

    last: object
    next: object
    at: float | None = None
    latest: Stretch | None = None


class Samples:
    """Two samples of each part that is asked for, which are allocated once and kept until it goes."""

    def __init__(self, nvml: Door) -> None:
        self._driver = nvml.driver()
        self._pairs: dict[Part, Pair] = {}
        self._supported: dict[str, bool] = {}
        self._unused: list[object] = []
        self._question = pynvml.c_nvmlGpmMetricsGet_t(
            version=pynvml.NVML_GPM_METRICS_GET_VERSION, numMetrics=len(Metric)
        )
        self._answers = {
            metric: Answer.from_buffer(self._question.metrics[place]) for place, metric in enumerate(Metric)
        }
        for metric, answer in self._answers.items():
            answer.metricId = metric

    def supported(self, told: Respondent, uuid: str) -> bool:
        """Whether a GPU has GPM, which it is asked until it answers."""
        if uuid not in self._supported:
            answer = told.numbers("nvmlGpmQueryDeviceSupport").get("isSupportedDevice")
            if answer is None:
                return False
            self._supported[uuid] = bool(answer)
        return self._supported[uuid]

    def since(self, told: Respondent, part: Part) -> Stretch | None:
        """What a part has done since it was asked before; None the first time, and where the driver does not tell.

        Asked again within a moment, it tells the same Stretch as before.
        """
        pair = self._pair(part)
        if pair is None or (pair.at is not None and time.perf_counter() - pair.at < APART):
            return pair.latest if pair else None
        before, pair.at, pair.latest = pair.at, None, None  # for good, if the driver loses the GPU at this call
        if _take(told, part, pair.next) is None:
            return None
        pair.last, pair.next, pair.at = pair.next, pair.last, time.perf_counter()
        if before is not None and pair.at - before <= LONGEST:
            pair.latest = self._between(pair.next, pair.last, pair.at - before)
        return pair.latest

    def keep(self, uuid: str, parts: Collection[Part]) -> None:
        """Forget the instances of a GPU but these."""
        self._drop(
            part for part in self._pairs if part.uuid == uuid and part.instance is not None and part not in parts
        )

    def forget(self, uuid: str) -> None:
        """Forget a GPU and its instances, as when it is lost or the driver is closed."""
        self._supported.pop(uuid, None)
        self._drop(part for part in self._pairs if part.uuid == uuid)

    def _pair(self, part: Part) -> Pair | None:
        if self._unused:
            self._free()
        if part not in self._pairs:
            first, second = (self._driver.told("nvmlGpmSampleAlloc") for _ in range(2))
            if first is None or second is None:
                self._unused += [each for each in (first, second) if each is not None]
                return None
            self._pairs[part] = Pair(first, second)
        return self._pairs[part]

    def _between(self, first: object, second: object, seconds: float) -> Stretch | None:
        self._question.sample1, self._question.sample2 = first, second
        for answer in self._answers.values():
            answer.value = math.nan  # so that what the driver leaves out is not what it said of another part
        if self._driver.told("nvmlGpmMetricsGet", self._question) is None:
            return None
        told = {metric: each.value for metric, each in self._answers.items() if each.nvmlReturn == pynvml.NVML_SUCCESS}
        return Stretch(seconds=seconds, told={metric: value for metric, value in told.items() if math.isfinite(value)})

    def _drop(self, parts: Iterable[Part]) -> None:
        for part in tuple(parts):
            pair = self._pairs.pop(part)
            self._unused += pair.last, pair.next
        self._free()

    def _free(self) -> None:
        with suppress(Lost, Unreadable):  # a driver that is gone is asked again once it is back
            while self._unused:
                self._driver.told("nvmlGpmSampleFree", self._unused[-1])
                self._unused.pop()


def _take(told: Respondent, part: Part, sample: object) -> object:
    if part.instance is None:
        return told.told("nvmlGpmSampleGet", sample)
    return told.told("nvmlGpmMigSampleGet", part.instance, sample)
