"""Who may read what is served, told by a file in the format that Prometheus' exporters share."""

from exporter.webconfig.document import WrongWebConfig
from exporter.webconfig.guard import Guard

__all__ = ["Guard", "WrongWebConfig"]
