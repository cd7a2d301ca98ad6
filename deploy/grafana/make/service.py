"""One service: how it stands, what the prompts found, what it says of itself, its processes and its GPUs."""

from deploy.grafana.make import units
from deploy.grafana.make.board import Board, Event, Section
from deploy.grafana.make.panels import (
    BAD,
    NO_COLUMN,
    WARNING,
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
from deploy.grafana.make.prompts import PROMPTS
from deploy.grafana.make.scope import ITS_WATCHERS, ONE_SERVICE, SCRAPED, XIDS
from deploy.grafana.make.verdicts import MEANING, numbered, words

FULL, TIGHT = 0.95, 0.8

NOW = Section(
    title="Now",
    panels=[
        latest(
            "Verdict",
            Query(numbered("instance"), "{{instance}}"),
            Words(note=MEANING),
        ).mappings([words()]),
        latest("Prompt answered", Query("min by (instance) (model_probe_up)", "{{instance}}")).mappings([YES_IS_GOOD]),
        latest("Health green", Query("min by (instance) (model_health_up)", "{{instance}}")).mappings([YES_IS_GOOD]),
        latest("First token", Query("max by (instance) (model_probe_last_first_token_seconds)", "{{instance}}")),
        latest("Whole answer", Query("max by (instance) (model_probe_last_duration_seconds)", "{{instance}}")),
        latest("Speed", Query("min by (instance) (model_probe_tokens_per_second)", "{{instance}}")),
        states(
            "How it stood",
            Query(numbered("target, instance"), "{{target}} at {{instance}}"),
            [words()],
            Words(note=f"Damped: it changes once the evidence is clear.\n\n{MEANING}"),
        ).height(5),
        states(
            "What speaks for it",
            Query("max by (evidence) (model_state_evidence) > 0", "{{evidence}}"),
            [meaning({1: ("so", "semi-dark-blue")})],
        ).height(6),
        rows(
            "What it was recognised as",
            Query("model_info", NO_COLUMN),
            columns={
                "target": "service",
                "instance": "exporter",
                "engine": "engine",
                "version": "version",
                "model": "model",
                "protocol": "asked in",
            },
        ).height(4),
    ],
)

HEALTH = Section(
    title="Health endpoint and certificate",
    folded=True,
    panels=[
        bars(
            "Health checks",
            Query(
                "60 * (sum(rate(model_health_attempts_total[$__rate_interval]))"
                " - sum(rate(model_health_failures_total[$__rate_interval])))",
                "as expected",
            ),
            Query("60 * sum by (reason) (rate(model_health_failures_total[$__rate_interval])) > 0", "{{reason}}"),
            words=Words(unit=units.A_MINUTE),
        ),
        lines("Time to answer", Query("model_health_last_duration_seconds", "{{instance}}")),
        lines(
            "What the answer holds",
            Query("model_health_value", "{{field}}"),
            words=Words(note="Fields that `health.values` names."),
        ),
        latest(
            "Certificate ends",
            Query("min by (instance) (model_tls_certificate_expiry_timestamp_seconds) - time()", "{{instance}}"),
            Words(unit=units.SECONDS, warning=20 * 86400, bad=3 * 86400, low=True),
        )
        .span(12)
        .height(8),
    ],
)

ENGINE = Section(
    title="What the service says of itself",
    panels=[
        lines(
            "Requests in the engine",
            Query("sum by (target) (model_server_requests_running)", "running"),
            Query("sum by (target) (model_server_requests_waiting)", "waiting"),
        ),
        lines(
            "KV cache",
            Query("max by (target, model) (model_server_kv_cache_usage_ratio)", "in use {{model}}"),
            words=Words(warning=TIGHT, bad=FULL, note="Once it is full, requests are put back or wait."),
        ).max(1),
        lines(
            "Tokens, users and prompts together",
            Query("sum by (target) (rate(model_server_generation_tokens_total[$__rate_interval]))", "generated"),
            Query("sum by (target) (rate(model_server_prompt_tokens_total[$__rate_interval]))", "read"),
            Query("sum by (target) (rate(model_server_cached_prompt_tokens_total[$__rate_interval]))", "from a cache"),
            words=Words(note="If it holds requests and generates nothing, it hangs."),
        ),
        stacked(
            "Requests",
            Query(
                "sum by (handler, method, status) (rate(model_server_requests_total[$__rate_interval]))",
                "{{method}} {{handler}} {{status}}",
            ),
            words=Words(note="By handler and status where the service tells them."),
        ),
        lines(
            "Failed requests",
            Query(
                "sum by (target) (rate(model_server_request_failures_total[5m]))"
                " / sum by (target) (rate(model_server_requests_total[5m]) > 0)",
                "{{target}}",
            ),
            words=Words(unit=units.SHARE, warning=0.02, bad=0.1, note="Failures over requests, over five minutes."),
        ),
        lines(
            "Requests put back",
            Query("sum by (target) (rate(model_server_preemptions_total[$__rate_interval]))", "{{target}}"),
            words=Words(unit=units.REQUESTS_A_SECOND, warning=0.1),
        ),
        lines(
            "P95 as the service measures it",
            *(
                Query(f"histogram_quantile(0.95, sum by (le) (rate(model_server_{name}_seconds_bucket[5m])))", legend)
                for name, legend in {
                    "request_duration": "whole request",
                    "first_token": "first token",
                    "queue": "in the queue",
                }.items()
            ),
            words=Words(note="Needs `server.publish: all`, and a service that has these histograms."),
        ).span(24),
    ],
)

PROCESS = Section(
    title="Its processes and its host",
    folded=True,
    panels=[
        rows(
            "Whether they were found",
            Query("model_process_lookup == 1", NO_COLUMN),
            columns={"target": "service", "instance": "exporter", "result": "result"},
        ).height(4),
        stacked(
            "CPU",
            Query("sum by (mode) (rate(model_process_cpu_seconds_total[$__rate_interval]))", "{{mode}}"),
            words=Words(unit=units.CORES),
        ),
        lines(
            "Memory",
            Query("sum by (instance) (model_process_resident_memory_bytes)", "resident {{instance}}"),
            Query("sum by (instance) (model_process_unique_memory_bytes)", "unique {{instance}}"),
            words=Words(
                note="Unique memory that only grows is a leak. Resident memory may fall when pages are swapped."
            ),
        ),
        lines(
            "GPU memory held",
            Query("sum by (instance, gpu) (model_process_gpu_memory_bytes)", "GPU {{gpu}} {{instance}}"),
        ),
        lines(
            "Connections",
            Query("sum by (instance) (model_process_accept_queue)", "in the backlog {{instance}}"),
            Query("sum by (instance) (model_process_connections)", "open {{instance}}"),
            words=Words(note="A backlog that stays above 0: the service does not accept what comes."),
        ),
        lines(
            "Processes and threads",
            Query("sum by (instance) (model_processes)", "processes {{instance}}"),
            Query("sum by (instance) (model_process_threads)", "threads {{instance}}"),
        ),
        lines(
            "Open files against their limit",
            Query("max by (instance) (model_process_open_fds / model_process_max_fds)", "{{instance}}"),
            words=Words(unit=units.SHARE, warning=TIGHT, bad=FULL),
        ).max(1),
        lines(
            "Disk",
            Query("sum by (instance) (rate(model_process_read_bytes_total[$__rate_interval]))", "read {{instance}}"),
            Query(
                "sum by (instance) (rate(model_process_written_bytes_total[$__rate_interval]))", "written {{instance}}"
            ),
        ),
        lines(
            "Restarts",
            Query("sum by (instance) (increase(model_process_restarts_total[1h]))", "{{instance}}"),
            words=Words(unit=units.COUNT, warning=1, bad=3, note="Over the last hour."),
        ),
        lines(
            "CPU of its host",
            Query(
                '1 - sum by (instance) (rate(host_cpu_seconds_total{mode=~"idle|iowait"}[$__rate_interval]))'
                " / sum by (instance) (rate(host_cpu_seconds_total[$__rate_interval]))",
                "{{instance}}",
            ),
            Query("max by (target) (model_objective_cpu_ratio)", "objective"),
            words=Words(unit=units.SHARE),
        ).max(1),
        lines(
            "Memory of its host",
            Query("host_memory_used_bytes / host_memory_total_bytes", "{{instance}}"),
            Query("max by (target) (model_objective_memory_ratio)", "objective"),
            words=Words(unit=units.SHARE),
        ).max(1),
    ],
)

MINE = "and on (uuid) model_gpu_info"

GPUS = Section(
    title="Its GPUs",
    folded=True,
    panels=[
        lines(
            "Memory in use",
            Query(
                f"(max by (uuid, gpu) (gpu_memory_used_bytes / gpu_memory_total_bytes)) {MINE}",
                "GPU {{gpu}}",
            ),
            Query("max by (target) (model_objective_gpu_memory_ratio)", "objective"),
            words=Words(unit=units.SHARE),
        ).max(1),
        lines(
            "Power against limit",
            Query(f"(max by (uuid, gpu) (gpu_power_watts)) {MINE}", "GPU {{gpu}}"),
            Query(
                f'(max by (uuid, gpu) (gpu_power_limit_watts{{limit="enforced"}})) {MINE}',
                "limit of GPU {{gpu}}",
            ),
            words=Words(note="Busy at the power of an idle one: it spins and computes nothing."),
        ),
        lines(
            "Busy",
            Query(f"(max by (uuid, gpu) (gpu_utilization_ratio)) {MINE}", "GPU {{gpu}} any kernel"),
        ).max(1),
        lines(
            "Temperature",
            Query(f"(max by (uuid, gpu) (gpu_temperature_celsius)) {MINE}", "GPU {{gpu}}"),
            words=Words(warning=85),
        ),
    ],
)

BOARD = Board(
    uid="model-sidecar-service",
    title="model-sidecar / Service",
    description="One model service: its verdict, its prompts, its own figures, its processes and its GPUs.",
    variables=[*SCRAPED, ONE_SERVICE, ITS_WATCHERS],
    sections=[NOW, PROMPTS, ENGINE, HEALTH, PROCESS, GPUS],
    events=[
        Event(
            name="Verdict changed",
            promql="1000 * model_state_since_timestamp_seconds"
            " * on (job, instance, target) group_left (state) (model_state == 1)",
            title="{{target}}: {{state}}",
            color=WARNING,
        ),
        Event(
            name="Xid",
            promql=f"{XIDS} {MINE}",
            title="Xid {{xid}} on GPU {{gpu}}",
            color=BAD,
        ),
    ],
)
