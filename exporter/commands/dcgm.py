"""The names of dcgm-exporter: how each follows from ours, as the recording rules of `deploy/prometheus`."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from textwrap import indent

from exporter.frozen import by_place
from exporter.gpus.heat import REASONS

MEBIBYTE = 1 << 20
MEGAHERTZ = 1_000_000
NANOSECONDS = 1_000_000_000

EVERY_GPU = "gpu:dcgm_labels"
UNDIVIDED_GPU = "undivided_gpu:dcgm_labels"
MIG_INSTANCE = "mig:dcgm_labels"
LABELS = ("UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION")
INSTANCE = "gpu_instance"

RENAMED_REASONS = {
    "idle": "gpu_idle",
    "application_clocks": "clocks_setting",
    "sw_power_cap": "power_cap",
    "display": "display_clocks",
}


@by_place
class Series:
    """One series of dcgm-exporter, and what it is in our names."""

    name: str
    of: str
    note: str = ""
    of_instance: str = ""
    """What it is of a MIG instance, which then tells it in place of its GPU."""
    by: str = ""
    """A label of its own besides those of every series."""
    labels: Mapping[str, str] = field(default_factory=dict)


def mebibytes(expression: str) -> str:
    """Bytes in MiB, by integer division."""
    return f"floor(({expression}) / {MEBIBYTE})" if " " in expression else f"floor({expression} / {MEBIBYTE})"


def megahertz(name: str, clock: str) -> str:
    """The speed of a clock in MHz."""
    return f'{name}{{clock="{clock}"}} / {MEGAHERTZ}'


def percent(name: str) -> str:
    """A ratio in whole percent."""
    return f"round({name} * 100)"


def limit(kind: str) -> str:
    """A limit of the power in W."""
    return f'gpu_power_limit_watts{{limit="{kind}"}}'


def held_down(reasons: str) -> str:
    """How long clocks were held down for any of some reasons, in ns."""
    if "|" in reasons:
        return f'sum without (reason) (gpu_throttle_seconds_total{{reason=~"{reasons}"}}) * {NANOSECONDS}'
    return f'gpu_throttle_seconds_total{{reason="{reasons}"}} * {NANOSECONDS}'


def ecc(error: str, lifetime: str) -> str:
    """Errors of memory that were found by its redundancy."""
    return f'gpu_ecc_errors_total{{error="{error}", lifetime="{lifetime}"}}'


def activity(name: str, unit: str, note: str = "") -> Series:
    """The share of cycles in which a unit of the chip was at work."""
    told = f'{{unit="{unit}"}}'
    return Series(name, f"gpu_activity_ratio{told}", note, of_instance=f"gpu_mig_activity_ratio{told}")


def per_second(name: str) -> str:
    """How fast a counter rises now."""
    return f"rate({name}[2m])"


def reason_bits() -> str:
    """The reasons for which clocks are held down, as one number."""
    told = "\n  or ".join(f'gpu_throttle{{reason="{reason}"}} * {bit}' for reason, bit in REASONS.items())
    return f"sum without (reason) (\n  {told}\n)"


def clock_events() -> str:
    """In how many scrapes each reason held clocks down, by the names that it has there."""
    told = 'label_replace(sum_over_time(gpu_throttle[5m]) > 0, "clock_event", "$1", "reason", "(.+)")'
    for ours, theirs in RENAMED_REASONS.items():
        told = f'label_replace(\n{indent(told, "  ")},\n  "clock_event", "{theirs}", "reason", "{ours}")'
    return f"sum without (reason) (\n{indent(told, '  ')}\n)"


LAST_XID = 'gpu_xid_last or ignoring (xid) 0 * gpu_xid_errors_total{xid="79"}'
NVLINK_RATE = (
    "floor((rate(gpu_nvlink_transmitted_bytes_total[2m]) + rate(gpu_nvlink_received_bytes_total[2m])) / 1024000)"
)
WINDOW = {"window_size_in_ms": "300000"}

SERIES = (
    Series("DCGM_FI_DEV_SM_CLOCK", megahertz("gpu_clock_hertz", "sm"), "MHz."),
    Series("DCGM_FI_DEV_MEM_CLOCK", megahertz("gpu_clock_hertz", "memory"), "MHz."),
    Series("DCGM_FI_DEV_VIDEO_CLOCK", megahertz("gpu_clock_hertz", "video"), "MHz."),
    Series("DCGM_FI_DEV_MAX_SM_CLOCK", megahertz("gpu_clock_max_hertz", "sm"), "MHz."),
    Series("DCGM_FI_DEV_MAX_MEM_CLOCK", megahertz("gpu_clock_max_hertz", "memory"), "MHz."),
    Series("DCGM_FI_DEV_MAX_VIDEO_CLOCK", megahertz("gpu_clock_max_hertz", "video"), "MHz."),
    Series("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", reason_bits(), "A mask of bits, as NVML numbers them."),
    Series("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", reason_bits(), "The older name of the same."),
    Series("DCGM_FI_DEV_PSTATE", "gpu_performance_state", "0 is the fastest."),
    Series("DCGM_FI_DEV_GPU_TEMP", "gpu_temperature_celsius"),
    Series("DCGM_FI_DEV_MEMORY_TEMP", "gpu_memory_temperature_celsius", "Absent, not 0, where there is no sensor."),
    Series("DCGM_FI_DEV_GPU_TEMP_LIMIT", "gpu_temperature_margin_celsius", "What is left until the clocks slow down."),
    Series("DCGM_FI_DEV_FAN_SPEED", percent("gpu_fan_ratio"), "Percent."),
    Series("DCGM_FI_DEV_POWER_USAGE", "gpu_power_watts"),
    Series(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "round(gpu_energy_joules_total * 1000)",
        "mJ; a counter without _total.",
    ),
    Series("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", limit("enforced")),
    Series("DCGM_FI_DEV_POWER_MGMT_LIMIT", limit("set")),
    Series("DCGM_FI_DEV_POWER_MGMT_LIMIT_MIN", limit("minimum")),
    Series("DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX", limit("maximum")),
    Series("DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF", limit("default")),
    Series("DCGM_FI_DEV_GPU_UTIL", percent("gpu_utilization_ratio"), "Percent; absent where MIG splits the GPU."),
    Series(
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        percent("gpu_memory_utilization_ratio"),
        "Percent of the time in which memory was read or written, not of its size.",
    ),
    Series("DCGM_FI_DEV_ENC_UTIL", percent("gpu_encoder_utilization_ratio"), "Percent."),
    Series("DCGM_FI_DEV_DEC_UTIL", percent("gpu_decoder_utilization_ratio"), "Percent."),
    Series(
        "DCGM_FI_DEV_FB_TOTAL",
        mebibytes("gpu_memory_total_bytes"),
        "MiB.",
        of_instance=mebibytes("gpu_mig_memory_total_bytes"),
    ),
    Series(
        "DCGM_FI_DEV_FB_USED",
        mebibytes("gpu_memory_used_bytes"),
        "MiB.",
        of_instance=mebibytes("gpu_mig_memory_used_bytes"),
    ),
    Series(
        "DCGM_FI_DEV_FB_FREE",
        mebibytes("gpu_memory_free_bytes"),
        "MiB; of a MIG instance with what its driver reserves, which it does not tell.",
        of_instance=mebibytes("gpu_mig_memory_total_bytes - gpu_mig_memory_used_bytes"),
    ),
    Series("DCGM_FI_DEV_FB_RESERVED", mebibytes("gpu_memory_reserved_bytes"), "MiB of the whole GPU."),
    Series(
        "DCGM_FI_DEV_FB_USED_PERCENT",
        "gpu_memory_used_bytes\n/ (gpu_memory_total_bytes - (gpu_memory_reserved_bytes or 0 * gpu_memory_total_bytes))",
        "A ratio from 0 to 1, whatever its name says; of a MIG instance, of all that it has.",
        of_instance="gpu_mig_memory_used_bytes / gpu_mig_memory_total_bytes",
    ),
    Series("DCGM_FI_DEV_BAR1_TOTAL", mebibytes("gpu_bar1_total_bytes"), "MiB."),
    Series("DCGM_FI_DEV_BAR1_USED", mebibytes("gpu_bar1_used_bytes"), "MiB."),
    Series("DCGM_FI_DEV_BAR1_FREE", mebibytes("gpu_bar1_total_bytes - gpu_bar1_used_bytes"), "MiB."),
    Series(
        "DCGM_FI_DEV_XID_ERRORS",
        LAST_XID,
        "The last Xid, for ever after, and 0 before the first; absent where nobody watches for Xids.",
    ),
    Series(
        "DCGM_EXP_XID_ERRORS_COUNT",
        "round(increase(gpu_xid_errors_total[5m])) > 0",
        "Of the last 5 minutes; misses the first of a code that gpu_xid_errors_total did not hold at 0.",
        by="xid",
        labels=WINDOW,
    ),
    Series(
        "DCGM_EXP_CLOCK_EVENTS_COUNT",
        clock_events(),
        "Scrapes of the last 5 minutes that saw it, where dcgm-exporter counts its own looks.",
        by="clock_event",
        labels=WINDOW,
    ),
    Series("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", ecc("corrected", "volatile"), "A counter."),
    Series("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", ecc("uncorrected", "volatile"), "A counter."),
    Series("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", ecc("corrected", "aggregate"), "A counter."),
    Series("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", ecc("uncorrected", "aggregate"), "A counter."),
    Series("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", 'gpu_remapped_rows{cause="uncorrectable"}'),
    Series("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", 'gpu_remapped_rows{cause="correctable"}'),
    Series("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gpu_row_remap_failed", "0 or 1."),
    Series("DCGM_FI_DEV_ROW_REMAP_PENDING", "gpu_row_remap_pending", "0 or 1."),
    Series("DCGM_FI_DEV_RETIRED_SBE", 'gpu_retired_pages{cause="single_bit"}'),
    Series("DCGM_FI_DEV_RETIRED_DBE", 'gpu_retired_pages{cause="double_bit"}'),
    Series("DCGM_FI_DEV_RETIRED_PENDING", "gpu_retired_pages_pending", "0 or 1."),
    Series("DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION", "gpu_recovery_action", "0 is none."),
    Series("DCGM_FI_DEV_POWER_VIOLATION", held_down("sw_power_cap"), "ns; a counter."),
    Series("DCGM_FI_DEV_THERMAL_VIOLATION", held_down("sw_thermal|hw_thermal"), "ns; a counter."),
    Series("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", held_down("sync_boost"), "ns; a counter."),
    Series("DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS", held_down("sw_power_cap"), "ns; a counter."),
    Series("DCGM_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST_NS", held_down("sync_boost"), "ns; a counter."),
    Series("DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS", held_down("sw_thermal"), "ns; a counter."),
    Series("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS", held_down("hw_thermal"), "ns; a counter."),
    Series("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS", held_down("hw_power_brake"), "ns; a counter."),
    Series("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "gpu_pcie_replays_total", "A counter."),
    Series("DCGM_FI_DEV_PCIE_LINK_GEN", "gpu_pcie_link_generation"),
    Series("DCGM_FI_DEV_PCIE_LINK_WIDTH", "gpu_pcie_link_width"),
    Series(
        "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        NVLINK_RATE,
        "A rate, whatever its name and type say, in units of 1024000 bytes a second, both directions.",
    ),
    Series("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", 'gpu_nvlink_errors_total{error="replay"}', "A counter."),
    Series("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", 'gpu_nvlink_errors_total{error="recovery"}', "A counter."),
    Series(
        "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        'gpu_nvlink_errors_total{error="crc"}',
        "A counter; errors of data are not told apart.",
    ),
    activity("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "graphics", "All of DCGM_FI_PROF are ratios from 0 to 1."),
    activity("DCGM_FI_PROF_SM_ACTIVE", "sm"),
    activity("DCGM_FI_PROF_SM_OCCUPANCY", "occupancy"),
    activity("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "tensor"),
    activity("DCGM_FI_PROF_DRAM_ACTIVE", "dram"),
    activity("DCGM_FI_PROF_PIPE_FP64_ACTIVE", "fp64"),
    activity("DCGM_FI_PROF_PIPE_FP32_ACTIVE", "fp32"),
    activity("DCGM_FI_PROF_PIPE_FP16_ACTIVE", "fp16"),
    Series("DCGM_FI_PROF_PCIE_TX_BYTES", per_second("gpu_pcie_transmitted_bytes_total"), "Bytes a second."),
    Series("DCGM_FI_PROF_PCIE_RX_BYTES", per_second("gpu_pcie_received_bytes_total"), "Bytes a second."),
    Series("DCGM_FI_PROF_NVLINK_TX_BYTES", per_second("gpu_nvlink_transmitted_bytes_total"), "Bytes a second."),
    Series("DCGM_FI_PROF_NVLINK_RX_BYTES", per_second("gpu_nvlink_received_bytes_total"), "Bytes a second."),
)
"""Every series of dcgm-exporter that our names can give."""

UNTOLD = {
    "DCGM_FI_DEV_POWER_USAGE_INSTANT": "gpu_power_watts is what the board averages where it does.",
    "DCGM_FI_DEV_SLOWDOWN_TEMP, SHUTDOWN_TEMP": "Not read; newer boards tell the margin, which is GPU_TEMP_LIMIT here.",
    "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION, LOW_UTIL_VIOLATION, RELIABILITY_VIOLATION": "No reason of ours is theirs.",
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL": "Not told apart from those of flits.",
    "DCGM_FI_DEV_PCIE_TX_THROUGHPUT, RX_THROUGHPUT": "The call waits for 20 ms; DCGM does not make it either.",
    "DCGM_FI_DEV_VGPU_LICENSE_STATUS": "Not read.",
    "DCGM_EXP_GPU_HEALTH_STATUS, DCGM_EXP_P2P_STATUS": "What DCGM's own tests found.",
    "err_code, err_msg": "Labels of DCGM_FI_DEV_XID_ERRORS; its value is the code.",
    "container, hpc_job": "Labels for what uses a GPU; model_gpu_info and the labels of the scrape tell that.",
}
"""What cannot be given, and why."""


def rules() -> Iterator[str]:
    """The recording rules and, in comments, what there is no rule for."""
    for each in SERIES:
        yield from _rule(each)
    yield "# What dcgm-exporter tells and these rules cannot:"
    for name, reason in UNTOLD.items():
        yield f"# {name}: {reason}"


def _rule(series: Series) -> Iterator[str]:
    if series.note:
        yield f"      # {series.note}"
    yield f"      - record: {series.name}"
    if series.labels:
        yield "        labels:"
        yield from (f'          {name}: "{value}"' for name, value in series.labels.items())
    yield "        expr: |"
    yield indent(_expression(series), " " * 10)


def _expression(series: Series) -> str:
    if series.by:
        matched = f"on (job, instance, uuid) group_right\n  ({', '.join(LABELS)})"
        return _summed("uuid", f"{EVERY_GPU} * {matched}", series.of)
    if not series.of_instance:
        return _summed("uuid", f"{EVERY_GPU} * on (job, instance, uuid) group_left ()", series.of)
    whole = _summed("uuid", f"{UNDIVIDED_GPU} * on (job, instance, uuid) group_left ()", series.of)
    matched = f"on (job, instance, uuid, {INSTANCE}) group_left ()"
    part = _summed(f"uuid, mig_uuid, profile, {INSTANCE}", f"{MIG_INSTANCE} * {matched}", series.of_instance)
    return f"{whole}\nor\n{part}"


def _summed(without: str, joined: str, told: str) -> str:
    """The labels of one record with the value of another: no series has a twin, so that the sum only drops labels."""
    one = told if told.isidentifier() else f"({indent(told, '  ').lstrip()})"
    return f"sum without ({without}) (\n  {joined}\n  {one}\n)"
