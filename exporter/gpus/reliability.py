"""Whether a GPU can be relied on: what its memory got wrong, what was done about it, and what its driver advises."""

from collections.abc import Mapping
from typing import Annotated

from exporter.frozen import frozen
from exporter.nvml import Respondent, number, within
from exporter.nvml.fields import Field, values
from exporter.reading import Counter, Gauge, Label, Reading

ERRORS = {
    ("corrected", "volatile"): 3,
    ("uncorrected", "volatile"): 4,
    ("corrected", "aggregate"): 5,
    ("uncorrected", "aggregate"): 6,
}
KINDS = {"corrected": 0, "uncorrected": 1}
LIFETIMES = {"volatile": 0, "aggregate": 1}

RETIRED = {"single_bit": 29, "double_bit": 30}
RETIRED_PENDING = 31
REPLAYS = 94
REMAPPED = {"correctable": 142, "uncorrectable": 143}
REMAP_PENDING, REMAP_FAILED = 144, 145
REMAPPING = (*REMAPPED.values(), REMAP_PENDING, REMAP_FAILED)
RECOVERY_ACTION = 230

MOST_ACTION = 255


@frozen
class GpuReliability(Reading):
    """What one GPU got wrong, and what is to be done about it."""

    PREFIX = "gpu"
    gpu: Annotated[str, Label("Index on this host.")]
    uuid: Annotated[str, Label("UUID, the same across restarts.")]
    ecc_errors: Annotated[
        Mapping[tuple[str, str], int],
        Counter(
            "Errors of memory, volatile since the driver was loaded and aggregate since the board was made, of which "
            "uncorrected ones cost whoever used that memory its work; absent where ECC is off or there is none.",
            by=("error", "lifetime"),
        ),
    ]
    remapped_rows: Annotated[
        Mapping[str, int],
        Gauge(
            "Rows of memory that spare ones stand in for, by the errors that were the cause; absent before Ampere and "
            "where MIG splits the GPU.",
            by="cause",
        ),
    ]
    row_remap_pending: Annotated[
        bool | None,
        Gauge(
            "Whether a row waits for the next reset to be replaced; absent before Ampere and where MIG splits the GPU."
        ),
    ]
    row_remap_failed: Annotated[
        bool | None,
        Gauge(
            "Whether a row could not be replaced, which calls for a new board; absent before Ampere and where MIG "
            "splits the GPU."
        ),
    ]
    retired_pages: Annotated[
        Mapping[str, int],
        Gauge("Pages of memory no longer used, by the errors that were the cause; absent from Ampere on.", by="cause"),
    ]
    retired_pages_pending: Annotated[
        bool | None, Gauge("Whether a page waits for the next reset to be retired; absent from Ampere on.")
    ]
    recovery_action: Annotated[
        int | None,
        Gauge(
            "What the driver says the GPU needs, where 0 is nothing, 1 a reset, 2 a reboot of the host, 3 an end of "
            "traffic between GPUs, and 4 that and a reset; absent before driver 570."
        ),
    ]
    pcie_replays: Annotated[
        int | None,
        Counter("Packets sent again over PCIe, of which many mean a bad slot or riser; absent where it is not told."),
    ]


def reliability(told: Respondent, gpu: str, uuid: str) -> GpuReliability:
    """Whether one GPU can be relied on; for the medium tier."""
    found = values(told, *ERRORS.values(), *RETIRED.values(), RETIRED_PENDING, REPLAYS, *REMAPPING, RECOVERY_ACTION)
    remapping = _remapping(told, found)
    return GpuReliability(
        gpu=gpu,
        uuid=uuid,
        ecc_errors=_errors(told, found),
        remapped_rows=_by_name(REMAPPED, remapping),
        row_remap_pending=_flag(remapping.get(REMAP_PENDING)),
        row_remap_failed=_flag(remapping.get(REMAP_FAILED)),
        retired_pages=_by_name(RETIRED, found),
        retired_pages_pending=_flag(found.get(RETIRED_PENDING)),
        recovery_action=within(found.get(RECOVERY_ACTION), MOST_ACTION),
        pcie_replays=found[REPLAYS] if REPLAYS in found else told.number("nvmlDeviceGetPcieReplayCounter"),
    )


def _errors(told: Respondent, found: Mapping[Field, int]) -> Mapping[tuple[str, str], int]:
    counted = {(error, lifetime): _counted(told, found, error, lifetime) for error, lifetime in ERRORS}
    return {key: count for key, count in counted.items() if count is not None}


def _counted(told: Respondent, found: Mapping[Field, int], error: str, lifetime: str) -> int | None:
    field = ERRORS[error, lifetime]
    if field in found:
        return found[field]
    return number(told.told("nvmlDeviceGetTotalEccErrors", KINDS[error], LIFETIMES[lifetime]))


def _remapping(told: Respondent, found: Mapping[Field, int]) -> Mapping[Field, int]:
    if found.keys() & {*REMAPPING}:
        return found
    parts = told.numbers("nvmlDeviceGetRemappedRows")
    return {field: parts[place] for place, field in enumerate(REMAPPING) if place in parts}


def _by_name(fields: Mapping[str, int], found: Mapping[Field, int]) -> Mapping[str, int]:
    return {name: found[field] for name, field in fields.items() if field in found}


def _flag(told: int | None) -> bool | None:
    return None if within(told, 1) is None else bool(told)
