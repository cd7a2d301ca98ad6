"""The door to pynvml: what the driver tells, in base units; what it cannot say is None."""

from exporter.nvml.door import (
    MEMORY_V2,
    Cost,
    Door,
    Lost,
    Respondent,
    millions,
    number,
    ratio,
    thousandths,
    within,
)
from exporter.nvml.driver import Nvml

__all__ = [
    "MEMORY_V2",
    "Cost",
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
