"""The host beneath the services, and the exporter itself."""

from deploy.grafana.make import units
from deploy.grafana.make.board import Board, Section
from deploy.grafana.make.panels import NO_COLUMN, YES_IS_GOOD, Query, Words, bars, latest, lines, rows, stacked, states
from deploy.grafana.make.scope import ONE_INSTANCE, SCRAPED

AT = "{{instance}}"

NOW = Section(
    title="Now",
    panels=[
        latest(
            "CPU in use",
            Query(
                '1 - sum by (instance) (rate(host_cpu_seconds_total{mode=~"idle|iowait"}[$__rate_interval]))'
                " / sum by (instance) (rate(host_cpu_seconds_total[$__rate_interval]))",
                AT,
            ),
            Words(unit=units.SHARE, warning=0.8, bad=0.95),
        ),
        latest(
            "Memory in use",
            Query("host_memory_used_bytes / host_memory_total_bytes", AT),
            Words(unit=units.SHARE, warning=0.85, bad=0.95),
        ),
        latest(
            "Room on the fullest disk",
            Query("min by (instance) (host_disk_free_bytes / host_disk_total_bytes)", AT),
            Words(unit=units.SHARE, warning=0.2, bad=0.1, low=True, note="Of the paths that `host.paths` names."),
        ),
        latest("Started", Query("1000 * host_boot_timestamp_seconds", AT), Words(unit=units.AGO)),
        latest("CPUs", Query("host_cpus", AT)),
        latest(
            "Killed for want of memory",
            Query("increase(host_oom_kills_total[1d])", AT),
            Words(unit=units.COUNT, bad=1, note="Over the last day."),
        ),
    ],
)

USE = Section(
    title="Host",
    panels=[
        stacked(
            "CPU",
            Query('sum by (mode) (rate(host_cpu_seconds_total{mode!="idle"}[$__rate_interval]))', "{{mode}}"),
            words=Words(unit=units.CORES),
        ),
        lines(
            "Load against CPUs",
            Query("host_load", "over {{period}} " + AT),
            Query("host_cpus", "CPUs " + AT),
        ),
        lines(
            "Memory",
            Query("host_memory_used_bytes", "used " + AT),
            Query("host_memory_total_bytes", "total " + AT),
            Query("host_swap_used_bytes", "swap " + AT),
        ),
        lines(
            "Standing still for want of",
            Query(
                "sum by (instance, resource, kind) (rate(host_pressure_seconds_total[$__rate_interval]))",
                "{{resource}}, {{kind}} " + AT,
            ),
            words=Words(warning=0.1, bad=0.4, note="Share of time, by pressure stall information."),
        ).max(1),
        lines(
            "Disk traffic",
            Query("sum by (device) (rate(host_disk_read_bytes_total[$__rate_interval]))", "{{device}} read"),
            Query("sum by (device) (rate(host_disk_written_bytes_total[$__rate_interval]))", "{{device}} written"),
        ),
        lines(
            "Network traffic",
            Query("sum by (device) (rate(host_network_received_bytes_total[$__rate_interval]))", "{{device}} received"),
            Query("sum by (device) (rate(host_network_transmitted_bytes_total[$__rate_interval]))", "{{device}} sent"),
        ),
        lines("Room on disks", Query("host_disk_free_bytes", "{{path}} " + AT)),
        lines("Temperature", Query("host_temperature_celsius", "{{sensor}} " + AT), words=Words(warning=85)),
    ],
)

CONTAINER = Section(
    title="The exporter's container",
    folded=True,
    panels=[
        lines(
            "Memory against its limit",
            Query("host_cgroup_memory_used_bytes", "used " + AT),
            Query("host_cgroup_memory_limit_bytes", "limit " + AT),
        ),
        lines("CPUs it may use", Query("host_cgroup_cpu_limit_cores", AT), words=Words(unit=units.CORES)),
    ],
)

EXPORTER = Section(
    title="The exporter itself",
    panels=[
        rows(
            "Exporters",
            Query("model_sidecar_build_info", NO_COLUMN),
            columns={"instance": "exporter", "version": "version", "python": "Python"},
        ).span(12),
        states(
            "Could look",
            Query(
                "min by (source, target, instance) (model_sidecar_collection_up)",
                "{{source}} {{target}} " + AT,
            ),
            [YES_IS_GOOD],
        ).span(12),
        lines(
            "Age of what is shown",
            Query(
                "max by (source, instance) (time() - model_sidecar_collection_last_success_timestamp_seconds)",
                "{{source}} " + AT,
            ),
            words=Words(
                unit=units.SECONDS, note="Of a source that stands still it grows. A prompt may be minutes old."
            ),
        ),
        lines(
            "How long a look takes",
            Query("max by (source, instance) (model_sidecar_collection_duration_seconds)", "{{source}} " + AT),
        ),
        bars(
            "Looks that failed",
            Query(
                "60 * sum by (source, reason) (rate(model_sidecar_collection_failures_total[$__rate_interval])) > 0",
                "{{source}}: {{reason}}",
            ),
            words=Words(unit=units.A_MINUTE),
        ),
        lines(
            "Lateness",
            Query("model_sidecar_scheduler_lag_seconds", AT),
            words=Words(warning=0.1, bad=1),
        ),
        lines("Memory of the exporter", Query("process_resident_memory_bytes", AT)),
        lines(
            "CPU of the exporter",
            Query("rate(process_cpu_seconds_total[$__rate_interval])", AT),
            words=Words(unit=units.CORES),
        ),
        lines(
            "Requests to its pages",
            Query(
                "sum by (path, code) (rate(model_sidecar_http_requests_total[$__rate_interval]))", "{{path}} {{code}}"
            ),
        ),
        lines(
            "Series left out",
            Query("sum by (source) (model_sidecar_series_dropped_total)", "{{source}}"),
            words=Words(warning=1),
        ),
        latest(
            "Settings valid",
            Query("model_sidecar_config_last_reload_successful", AT),
        )
        .mappings([YES_IS_GOOD])
        .span(12),
        latest(
            "Settings read",
            Query("1000 * model_sidecar_config_last_reload_success_timestamp_seconds", AT),
            Words(unit=units.AGO),
        ).span(12),
    ],
)

BOARD = Board(
    uid="model-sidecar-host",
    title="model-sidecar / Host",
    description="The host: CPU, memory, disks and network, the container's limits, and the exporter itself.",
    variables=[*SCRAPED, ONE_INSTANCE],
    sections=[NOW, USE, EXPORTER, CONTAINER],
)
