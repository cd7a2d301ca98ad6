"""The door to pynvml: what the driver tells, in base units; what it cannot say is None."""

from exporter.nvml.door import (
    MEMORY_V2,
    Door,
    Lost,
    Nvml,
    Respondent,
    millions,
    number,
    ratio,
    thousandths,
    within,
)

__all__ = [
    "MEMORY_V2",
    "Door",
    "Lost",
    "Nvml",
    "Respondent",
    "millions",
    "number",
    "ratio",
    "thousandths",
    "within",
]
