"""The table of engines, one row each; the first row of which a sign holds is the engine.

The order decides also what is asked next, so the more particular stand first, and nothing stands here that changes or
costs anything when it is asked for.
"""

from collections.abc import Mapping

from exporter.engines.by_elimination import TOLD_BY_ELIMINATION
from exporter.engines.by_front import TOLD_BY_FRONT
from exporter.engines.by_models import TOLD_BY_MODELS
from exporter.engines.row import Engine

ENGINES: Mapping[str, Engine] = {**TOLD_BY_FRONT, **TOLD_BY_MODELS, **TOLD_BY_ELIMINATION}
