"""What the synthetic prompts found: whether they were answered, how soon, how fast, and at which cost."""

from deploy.grafana.make import units
from deploy.grafana.make.board import Section
from deploy.grafana.make.panels import Query, Words, bars, heat, lines, stacked

HOUR = "over the last hour"
COMPUTED = f"Computed from the buckets, {HOUR}; the alerts take P99 over six hours."
QUANTILES = {"P50": 0.5, "P95": 0.95, "P99": 0.99}


def _quantiles(histogram: str, objective: str) -> list[Query]:
    spread = f"sum by (target, le) (rate({histogram}_bucket[1h]))"
    return [
        *(Query(f"histogram_quantile({part}, {spread})", name) for name, part in QUANTILES.items()),
        Query(f"max by (target, percentile) ({objective})", "objective {{percentile}}"),
    ]


PROMPTS = Section(
    title="Prompts",
    panels=[
        bars(
            "Outcomes",
            Query(
                "60 * (sum by (target) (rate(model_probe_attempts_total[$__rate_interval]))"
                " - sum by (target) (rate(model_probe_failures_total[$__rate_interval])))",
                "answered",
            ),
            Query("60 * sum by (reason) (rate(model_probe_failures_total[$__rate_interval])) > 0", "{{reason}}"),
            Query(
                "60 * sum by (reason) (rate(model_probe_skipped_total[$__rate_interval])) > 0", "skipped: {{reason}}"
            ),
            words=Words(unit=units.A_MINUTE, note="An attempt counts when it begins, its failure when it ends."),
        ).interval("2m"),
        lines(
            "Success",
            Query(
                "1 - sum by (target) (rate(model_probe_failures_total[1h]))"
                " / sum by (target) (rate(model_probe_attempts_total[1h]))",
                "{{target}}",
            ),
            Query("max by (target) (model_objective_success_ratio)", "objective"),
            words=Words(unit=units.SHARE, note=f"Share of prompts with a valid answer, {HOUR}."),
        ).max(1),
        heat("First token, spread", "model_probe_first_token_seconds"),
        lines(
            "First token, quantiles",
            *_quantiles("model_probe_first_token_seconds", "model_objective_first_token_seconds"),
            words=Words(note=COMPUTED),
        ),
        heat("Whole answer, spread", "model_probe_duration_seconds"),
        lines(
            "Whole answer, quantiles",
            *_quantiles("model_probe_duration_seconds", "model_objective_duration_seconds"),
            words=Words(note=COMPUTED),
        ),
        lines(
            "Tokens per second of an answer",
            Query("model_probe_tokens_per_second", "{{instance}}"),
            Query("max by (target) (model_objective_tokens_per_second)", "objective, at least"),
        ),
        lines(
            "Time per token",
            *(
                Query(
                    f"histogram_quantile({part}, "
                    "sum by (le) (rate(model_probe_time_per_output_token_seconds_bucket[1h])))",
                    name,
                )
                for name, part in QUANTILES.items()
            ),
            Query("max(model_probe_last_longest_gap_seconds)", "longest wait between two pieces"),
        ),
        stacked(
            "Where the time of the last prompt went",
            Query("max by (phase) (model_probe_last_phase_seconds)", "{{phase}}"),
        ),
        lines(
            "What the prompts cost",
            Query("sum(rate(model_probe_prompt_tokens_total[5m]))", "prompt"),
            Query("sum(rate(model_probe_output_tokens_total[5m]))", "output"),
            words=Words(note="Tokens that the service spends on being watched."),
        ),
    ],
)
