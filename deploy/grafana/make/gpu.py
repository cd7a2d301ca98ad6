"""The GPUs of a node: work, memory, power, heat, clocks, links, errors, and the parts that MIG makes."""

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.make import units
from deploy.grafana.make.board import Board, Event, Section
from deploy.grafana.make.panels import (
    BAD,
    NO_COLUMN,
    YES_IS_GOOD,
    Query,
    Words,
    bars,
    latest,
    lines,
    meaning,
    rows,
    stacked,
    states,
)
from deploy.grafana.make.scope import GPUS, ONE_WITH_GPUS, SCRAPED, XIDS

GPU = "GPU {{gpu}}"
NO_TROUBLE = "idle|application_clocks"
AGO = dashboard.DynamicConfigValue(id_val="unit", value=units.AGO)
ACTIONS = meaning(
    {
        0: ("nothing", "green"),
        1: ("reset", "orange"),
        2: ("reboot", "red"),
        3: ("end traffic", "orange"),
        4: ("end traffic, reset", "red"),
    }
)

NOW = Section(
    title="Now",
    panels=[
        latest("GPUs", Query("sum(max by (instance) (gpu_devices))", "known to the driver")),
        latest("Gone", Query("count(gpu_up == 0) or vector(0)", "do not answer"), Words(unit=units.COUNT, bad=1)),
        latest("Power", Query("sum(max by (uuid) (gpu_power_watts))", "all GPUs")),
        latest(
            "All memory in use",
            Query(
                "sum(max by (uuid) (gpu_memory_used_bytes)) / sum(max by (uuid) (gpu_memory_total_bytes))", "all GPUs"
            ),
            Words(unit=units.SHARE),
        ),
        latest("Hottest", Query("max(gpu_temperature_celsius)", "all GPUs"), Words(warning=85)),
        latest(
            "Energy",
            Query("sum(max by (uuid) (increase(gpu_energy_joules_total[$__range])))", "in the time shown"),
            Words(unit="joule"),
        ),
        rows(
            "What they are",
            Query("gpu_info * on (job, instance) group_left (driver, cuda) gpu_driver_info", NO_COLUMN),
            columns={
                "instance": "exporter",
                "gpu": "GPU",
                "name": "name",
                "uuid": "UUID",
                "pci_bus_id": "PCI",
                "driver": "driver",
                "cuda": "CUDA",
                "vbios": "VBIOS",
            },
        ),
        rows(
            "Whose they are",
            Query("model_gpu_info", NO_COLUMN),
            columns={"instance": "exporter", "gpu": "GPU", "uuid": "UUID", "target": "service"},
        ).span(12),
        states("Answers its driver", Query("max by (gpu, uuid) (gpu_up)", GPU), [YES_IS_GOOD]).span(12),
    ],
)

WORK = Section(
    title="Work and memory",
    panels=[
        lines("Busy", Query("max by (gpu, uuid) (gpu_utilization_ratio)", GPU)).max(1),
        lines(
            "What its units do",
            Query("max by (gpu, uuid, unit) (gpu_activity_ratio)", GPU + " {{unit}}"),
            words=Words(note="Tensor and dram tell real work; a GPU can be busy all the time and do little."),
        ).max(1),
        lines("Memory in use", Query("max by (gpu, uuid) (gpu_memory_used_bytes)", GPU)),
        lines(
            "Memory in use, share",
            Query("max by (gpu, uuid) (gpu_memory_used_bytes / gpu_memory_total_bytes)", GPU),
            words=Words(unit=units.SHARE, note="Servers such as vLLM take most of it at the start: high is normal."),
        ).max(1),
        stacked(
            "Memory by process",
            Query("max by (gpu, uuid, process) (gpu_process_memory_bytes)", GPU + " {{process}}"),
        ),
        lines(
            "Memory traffic, encoder, decoder",
            Query("max by (gpu, uuid) (gpu_memory_utilization_ratio)", GPU + " memory traffic"),
            Query("max by (gpu, uuid) (gpu_encoder_utilization_ratio)", GPU + " encoder"),
            Query("max by (gpu, uuid) (gpu_decoder_utilization_ratio)", GPU + " decoder"),
        ).max(1),
    ],
)

POWER = Section(
    title="Power, heat and clocks",
    panels=[
        lines(
            "Power against limit",
            Query("max by (gpu, uuid) (gpu_power_watts)", GPU),
            Query('max by (gpu, uuid) (gpu_power_limit_watts{limit="enforced"})', "limit of " + GPU),
        ),
        lines(
            "Power by energy",
            Query("max by (gpu, uuid) (rate(gpu_energy_joules_total[$__rate_interval]))", GPU),
            words=Words(note="The mean, truer than what is read at one moment."),
        ),
        lines("Temperature", Query("max by (gpu, uuid) (gpu_temperature_celsius)", GPU), words=Words(warning=85)),
        lines(
            "Memory temperature and margin",
            Query("max by (gpu, uuid) (gpu_memory_temperature_celsius)", GPU + " memory"),
            Query("min by (gpu, uuid) (gpu_temperature_margin_celsius)", GPU + " left until it slows down"),
        ),
        states(
            "Held back",
            Query(
                f'max by (gpu, uuid, reason) (gpu_throttle{{reason!~"{NO_TROUBLE}"}}) > 0',
                GPU + " {{reason}}",
            ),
            [meaning({1: ("held back", "dark-orange")})],
            Words(note="Empty while no clock is held back. `sw_power_cap` is common at full load."),
        ),
        lines(
            "Share of time held back",
            Query(
                "max by (gpu, uuid, reason) "
                f'(rate(gpu_throttle_seconds_total{{reason!~"{NO_TROUBLE}"}}[$__rate_interval]))',
                GPU + " {{reason}}",
            ),
            words=Words(note="Also what happened between two looks."),
        ).max(1),
        lines(
            "Clocks",
            Query('max by (gpu, uuid, clock) (gpu_clock_hertz{clock=~"sm|memory"})', GPU + " {{clock}}"),
            Query('max by (gpu, uuid) (gpu_clock_max_hertz{clock="sm"})', GPU + " sm at most"),
        ),
        lines(
            "Performance state",
            Query("max by (gpu, uuid) (gpu_performance_state)", GPU),
        ),
        lines("Fan", Query("max by (gpu, uuid) (gpu_fan_ratio)", GPU)),
    ],
)

LINKS = Section(
    title="Links",
    folded=True,
    panels=[
        lines(
            "PCIe",
            Query("max by (gpu, uuid) (rate(gpu_pcie_transmitted_bytes_total[$__rate_interval]))", GPU + " sent"),
            Query("max by (gpu, uuid) (rate(gpu_pcie_received_bytes_total[$__rate_interval]))", GPU + " received"),
        ),
        lines(
            "NVLink",
            Query("max by (gpu, uuid) (rate(gpu_nvlink_transmitted_bytes_total[$__rate_interval]))", GPU + " sent"),
            Query("max by (gpu, uuid) (rate(gpu_nvlink_received_bytes_total[$__rate_interval]))", GPU + " received"),
        ),
        lines(
            "PCIe link",
            Query("min by (gpu, uuid) (gpu_pcie_link_width)", GPU + " lanes"),
            Query("min by (gpu, uuid) (gpu_pcie_link_generation)", GPU + " generation"),
        ),
        lines(
            "Errors on links",
            Query("max by (gpu, uuid) (increase(gpu_pcie_replays_total[1h]))", GPU + " PCIe replays"),
            Query("max by (gpu, uuid, error) (increase(gpu_nvlink_errors_total[1h]))", GPU + " NVLink {{error}}"),
            words=Words(unit=units.COUNT, warning=1, note="Over the last hour."),
        ),
        lines(
            "Window to the memory (BAR1)",
            Query("max by (gpu, uuid) (gpu_bar1_used_bytes / gpu_bar1_total_bytes)", GPU),
            words=Words(unit=units.SHARE),
        )
        .max(1)
        .span(24),
    ],
)

ERRORS = Section(
    title="Errors",
    panels=[
        bars(
            "Xids",
            Query(
                "max by (gpu, uuid, xid) (increase(gpu_xid_errors_total[$__rate_interval])) > 0", GPU + " Xid {{xid}}"
            ),
            words=Words(
                unit=units.COUNT, note="79: off the bus. 48, 63, 64, 94, 95: memory. 31, 43, 45: often the program."
            ),
        ),
        rows(
            "Last Xid",
            Query("max by (instance, gpu, uuid) (gpu_xid_last)", "Xid"),
            Query("1000 * max by (instance, gpu, uuid) (gpu_xid_last_timestamp_seconds)", "when"),
            columns={"instance": "exporter", "gpu": "GPU", "uuid": "UUID"},
            words=Words(unit=units.COUNT),
        )
        .override_by_name("when", [AGO])
        .span(12)
        .height(8),
        lines(
            "Errors of memory",
            Query(
                "max by (gpu, uuid, error, lifetime) (gpu_ecc_errors_total)",
                GPU + " {{error}}, {{lifetime}}",
            ),
        ),
        lines(
            "Memory taken out of use",
            Query("max by (gpu, uuid, cause) (gpu_remapped_rows)", GPU + " rows, {{cause}}"),
            Query("max by (gpu, uuid, cause) (gpu_retired_pages)", GPU + " pages, {{cause}}"),
        ),
        states(
            "What it needs",
            Query("max by (gpu, uuid) (gpu_recovery_action)", GPU),
            [ACTIONS],
        ).span(12),
        lines(
            "Waits for a reset, or for a new board",
            Query("max by (gpu, uuid) (gpu_row_remap_pending)", GPU + " row waits for a reset"),
            Query("max by (gpu, uuid) (gpu_retired_pages_pending)", GPU + " page waits for a reset"),
            Query("max by (gpu, uuid) (gpu_row_remap_failed)", GPU + " row could not be replaced"),
            words=Words(unit=units.COUNT, bad=1),
        ),
    ],
)

MIG = Section(
    title="Parts that MIG makes",
    folded=True,
    panels=[
        rows(
            "Instances",
            Query("gpu_mig_info", NO_COLUMN),
            columns={
                "instance": "exporter",
                "gpu": "GPU",
                "gpu_instance": "GPU instance",
                "profile": "profile",
                "mig_uuid": "UUID",
            },
        ),
        lines(
            "Memory in use, by part",
            Query(
                "max by (gpu, uuid, gpu_instance, profile) (gpu_mig_memory_used_bytes / gpu_mig_memory_total_bytes)",
                GPU + " {{gpu_instance}} {{profile}}",
            ),
            words=Words(unit=units.SHARE),
        ).max(1),
        lines(
            "What the units of a part do",
            Query(
                "max by (gpu, uuid, gpu_instance, profile, unit) (gpu_mig_activity_ratio)",
                GPU + " {{gpu_instance}} {{profile}} {{unit}}",
            ),
        ).max(1),
    ],
)

BOARD = Board(
    uid="model-sidecar-gpu",
    title="model-sidecar / GPU",
    description="The GPUs that the driver knows: work, memory, power, heat, clocks, links and errors.",
    variables=[*SCRAPED, ONE_WITH_GPUS, GPUS],
    sections=[NOW, WORK, POWER, ERRORS, LINKS, MIG],
    events=[
        Event(
            name="Xid",
            promql=XIDS,
            title="Xid {{xid}} on GPU {{gpu}}",
            color=BAD,
        )
    ],
)
