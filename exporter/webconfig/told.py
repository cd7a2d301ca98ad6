"""What is told of the file that says who is let in."""

from typing import Annotated

from exporter.frozen import frozen
from exporter.reading import Gauge, Reading


@frozen
class LetIn(Reading):
    """What came of reading who is let in."""

    PREFIX = "model_sidecar_web_config"
    last_reload_successful: Annotated[
        bool,
        Gauge(
            "Whether web.config_file and the files that it names were valid when they were read last; what they said "
            "before stays in force if not; absent without such a file."
        ),
    ]
