"""The dashboards as the files that Grafana reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.make import fleet, gpu, host, service
from deploy.grafana.make.board import Board, drawn

FOLDER = Path(__file__).parent.parent / "dashboards"
BOARDS: Sequence[Board] = (fleet.BOARD, service.BOARD, gpu.BOARD, host.BOARD)

LEFT_OVER = {"auto", "auto_count", "auto_min", "footer"}
"""What the library writes of every variable and table, and Grafana's types know of none of these."""


def files() -> Mapping[str, str]:
    """The text of each dashboard by the name of its file."""
    return {f"{board.uid.removeprefix('model-sidecar-')}.json": text(board) for board in BOARDS}


def text(board: Board) -> str:
    """A dashboard as JSON."""
    document = json.loads(JSONEncoder().encode(drawn(board)), object_hook=_without_leftovers)
    for each in (*document["links"], *document["annotations"]["list"]):
        # Else both are in a menu, where nobody sees them.
        del each["placement"]
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _without_leftovers(part: dict[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in part.items() if name not in LEFT_OVER}
