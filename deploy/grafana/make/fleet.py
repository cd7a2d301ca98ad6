"""Every service and every exporter at a glance, out of recorded series, so that it is cheap however many there are."""

from collections.abc import Mapping

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.make import units
from deploy.grafana.make.board import Board, Section, Variable
from deploy.grafana.make.panels import NO_COLUMN, Query, Words, coloured, latest, lines, rows, stacked
from deploy.grafana.make.verdicts import COLORS, MEANING

LEADS_TO = (
    "/d/model-sidecar-service?${datasource:queryparam}&var-job=${__data.fields.job:percentencode}"
    "&var-instance=${__data.fields.exporter:percentencode}&var-target=${__data.fields.service:percentencode}&${__url_time_range}"
)
TO_THE_SERVICE = dashboard.DynamicConfigValue(id_val="links", value=[{"title": "Open the service", "url": LEADS_TO}])
OF_A_SERVICE: Mapping[str, str] = {
    "target": "service",
    "job": "job",
    "namespace": "namespace",
    "pod": "pod",
    "instance": "exporter",
}
RECORDED = "fleet:exporters:count"
"""Has the labels of every job, and nothing of a single exporter."""

NOT_WELL = 'state!~"ok|asleep"'

SERVICES = Section(
    title="Services",
    panels=[
        latest("Services", Query("sum(fleet:model_state:sum)", "watched")),
        latest("Not well", Query(f"sum(fleet:model_state:sum{{{NOT_WELL}}})", "neither ok nor asleep"), Words(bad=1)),
        latest(
            "Answered",
            Query("1 - sum(fleet:probe_failures:rate5m) / sum(fleet:probe_attempts:rate5m)", "of all prompts"),
            Words(unit=units.SHARE, warning=0.99, bad=0.95, low=True),
        ),
        latest(
            "Generated",
            Query("sum(fleet:generation_tokens:rate5m)", "services that tell"),
            Words(unit=units.TOKENS_A_SECOND),
        ),
        latest("Worked on", Query("sum(fleet:requests_running:sum)", "requests")),
        latest("Waiting", Query("sum(fleet:requests_waiting:sum)", "requests")),
        stacked(
            "How they stand",
            Query("sum by (state) (fleet:model_state:sum) > 0", "{{state}}"),
            words=Words(note=MEANING),
        )
        .overrides([coloured(state, color) for state, color in COLORS.items()])
        .span(24),
        rows(
            "Not well now",
            Query("fleet:model_state:not_well", NO_COLUMN),
            columns={**OF_A_SERVICE, "state": "state"},
            words=Words(note="Empty where all are well. A service leads to its own dashboard."),
        ).override_by_name("service", [TO_THE_SERVICE]),
        rows(
            "Slowest first tokens",
            Query("topk(10, fleet:probe_first_token_seconds:slowest)", "P95"),
            columns=OF_A_SERVICE,
            words=Words(unit=units.SECONDS, note="P95 of the last hour, of services with 20 answers in it."),
        )
        .override_by_name("service", [TO_THE_SERVICE])
        .span(12),
        rows(
            "Most prompts failed",
            Query("topk(10, fleet:probe_failures:most)", "failed"),
            columns=OF_A_SERVICE,
            words=Words(unit=units.SHARE, note="Share of the prompts of the last hour, of services with 20 in it."),
        )
        .override_by_name("service", [TO_THE_SERVICE])
        .span(12),
        lines(
            "Tokens generated",
            Query("sum by (job, namespace) (fleet:generation_tokens:rate5m)", "{{job}} {{namespace}}"),
            words=Words(unit=units.TOKENS_A_SECOND, note="For users and for prompts."),
        ),
        lines(
            "Requests",
            Query("sum(fleet:requests_running:sum)", "worked on"),
            Query("sum(fleet:requests_waiting:sum)", "waiting"),
            words=Words(note="As the services count them."),
        ),
    ],
)

GPUS = Section(
    title="GPUs",
    panels=[
        latest("GPUs", Query("sum(fleet:gpu_up:count)", "seen")),
        latest(
            "Gone",
            Query("sum(fleet:gpu_up:count) - sum(fleet:gpu_up:sum)", "do not answer"),
            Words(bad=1, note="GPUs that their driver knows and that do not answer it."),
        ),
        latest(
            "Busy",
            Query("sum(fleet:gpu_utilization_ratio:sum) / sum(fleet:gpu_up:sum)", "mean"),
            Words(unit=units.SHARE, note="A GPU that MIG splits counts as idle."),
        ),
        latest(
            "Memory in use",
            Query("sum(fleet:gpu_memory_used_bytes:sum) / sum(fleet:gpu_memory_total_bytes:sum)", "of all"),
            Words(unit=units.SHARE),
        ),
        latest("Power", Query("sum(fleet:gpu_power_watts:sum)", "all GPUs"), Words(unit="watt")),
        latest(
            "Xids",
            Query("sum(fleet:gpu_xid_errors:increase1h)", "in the last hour"),
            Words(warning=1, note="Of every code; the GPU dashboard says which."),
        ),
    ],
)

EXPORTERS = Section(
    title="Exporters",
    panels=[
        stacked(
            "Versions",
            Query("sum by (version) (fleet:exporters:count)", "{{version}}"),
            words=Words(note="Exporters by version; fewer than there should be are not scraped."),
        ),
        stacked(
            "Sources that cannot look",
            Query(
                "sum by (source) (fleet:collection_up:count) - sum by (source) (fleet:collection_up:sum)", "{{source}}"
            ),
            words=Words(note="The Host dashboard of an exporter says why."),
        ),
    ],
)

BOARD = Board(
    uid="model-sidecar-fleet",
    title="model-sidecar / Fleet",
    description="Every service, GPU and exporter at a glance; a service leads to its own dashboard.",
    variables=[Variable(label="job", metric=RECORDED), Variable(label="namespace", metric=RECORDED, maybe=True)],
    sections=[SERVICES, GPUS, EXPORTERS],
)
