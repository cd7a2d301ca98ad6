"""MIG: the instances into which a GPU is split."""

import math
import re
from collections.abc import Mapping, Sequence

from exporter.frozen import frozen
from exporter.nvml.door import MEMORY_V2, Door, Respondent, within

ENABLED = 1
MOST_DEVICES = 64
MIB = 1 << 20
GIB = 1 << 30
EIGHTHS = 8

NAMED = re.compile(r"MIG (?:\d+c\.)?(\d+g\.\d+gb\S*)$")
"""A MIG device's name ends in its profile, where what stands before `c` is of the compute instance alone."""


@frozen
class Instance:
    """One GPU instance, which answers for as long as MIG is not changed."""

    number: int
    profile: str
    uuids: Sequence[str]
    """Of its compute instances, which share its memory."""
    told: Respondent
    """The first of them."""


def instances(nvml: Door, told: Respondent) -> Sequence[Instance]:
    """The instances of a GPU that have a compute instance, by number; none where MIG is off, or hidden from this user.

    Their handles die when MIG is changed, so that they are looked for anew each time.
    """
    if told.numbers("nvmlDeviceGetMigMode").get(0) != ENABLED:
        return ()
    devices: dict[int, list[Respondent]] = {}
    for slot in range(within(told.number("nvmlDeviceGetMaxMigDeviceCount"), MOST_DEVICES) or 0):
        handle = told.told("nvmlDeviceGetMigDeviceHandleByIndex", slot)
        device = Respondent(nvml, handle)
        number = None if handle is None else device.number("nvmlDeviceGetGpuInstanceId")
        if number is not None:
            devices.setdefault(number, []).append(device)
    return [_instance(told, number, devices[number]) for number in sorted(devices)]


def memory(told: Respondent) -> Mapping[str, int]:
    """The `total` and `used` bytes of an instance, or nothing."""
    found = told.numbers(("nvmlDeviceGetMemoryInfo", MEMORY_V2), "nvmlDeviceGetMemoryInfo")
    parts = {part: found[part] for part in ("total", "used") if part in found}
    return parts if 0 < parts.get("total", 0) >= parts.get("used", 0) else {}


def _instance(parent: Respondent, number: int, devices: Sequence[Respondent]) -> Instance:
    first = devices[0]
    uuids = [device.text("nvmlDeviceGetUUID") for device in devices]
    named = NAMED.search(first.text("nvmlDeviceGetName"))
    return Instance(number=number, profile=named[1] if named else _reckoned(parent, first), uuids=uuids, told=first)


def _reckoned(parent: Respondent, device: Respondent) -> str:
    """A profile as the driver makes it: slices, and that many eighths of the GPU's whole memory in GB."""
    parts = device.numbers("nvmlDeviceGetAttributes_v2")
    slices, size = parts.get("gpuInstanceSliceCount"), parts.get("memorySizeMB")
    whole = memory(parent).get("total")
    if not slices or not size or not whole:
        return ""
    eighths = math.ceil(EIGHTHS * size * MIB / whole)
    # A half goes up, as in 3g.71gb of 141.
    return f"{slices}g.{math.floor(eighths / EIGHTHS * math.ceil(whole / GIB) + 0.5)}gb"
