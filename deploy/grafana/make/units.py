"""The unit of what a query gives, read off the name of its first metric, which ends with a base unit."""

from collections.abc import Mapping

from deploy.grafana.make.names import found

COUNT = "short"
SHARE = "percentunit"
SECONDS = "s"
A_MINUTE = "suffix: /min"
CORES = "suffix: cores"
TOKENS_A_SECOND = "suffix: tokens/s"
REQUESTS_A_SECOND = "reqps"
AGO = "dateTimeFromNow"
"""Of milliseconds since 1970."""

AS_IT_STANDS: Mapping[str, str] = {
    "timestamp_seconds": AGO,
    "tokens_per_second": TOKENS_A_SECOND,
    "seconds": SECONDS,
    "bytes": "bytes",
    "ratio": SHARE,
    "watts": "watt",
    "celsius": "celsius",
    "hertz": "hertz",
}

AS_A_RATE: Mapping[str, str] = {
    "seconds_total": SHARE,
    "bytes_total": "binBps",
    "joules_total": "watt",
    "tokens_total": TOKENS_A_SECOND,
    "requests_total": REQUESTS_A_SECOND,
}


def unit(query: str) -> str:
    """Grafana's name for the unit; a plain count where the name ends with none."""
    name = next((each.metric for each in found(query)), "")
    if "histogram_quantile" in query:
        return SECONDS
    known = AS_A_RATE if "rate(" in query else AS_IT_STANDS
    return next((known[ending] for ending in known if name.endswith(ending)), COUNT)
