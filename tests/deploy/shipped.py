"""Prometheus' configuration and rules as they are shipped, of which only addresses are changed."""

import shutil
from pathlib import Path

from tests.daemon import ROOT

SHIPPED = ROOT / "deploy" / "prometheus"
EXPORTER, ALERTMANAGER = "localhost:10068", "localhost:9093"
KEPT = "2m"
"""How long a verdict is told after it is over."""


def addressed(folder: Path, *, exporter: str, alertmanager: str, kept: str = KEPT) -> Path:
    """The shipped files as an operator has them whose exporter and Alertmanager are at these addresses.

    What is over is kept for so long, lest it come back.
    """
    copy = shutil.copytree(SHIPPED, folder / "prometheus")
    alerts = copy / "alerts.yml"
    assert _keeping(KEPT) in alerts.read_text()
    alerts.write_text(alerts.read_text().replace(_keeping(KEPT), _keeping(kept)))
    file = copy / "prometheus.yml"
    text = file.read_text()
    for shipped, ours in {EXPORTER: exporter, ALERTMANAGER: alertmanager}.items():
        assert text.count(f'["{shipped}"]') == 1, f"{shipped} is to be found once in {file}"
        text = text.replace(shipped, ours)
    file.write_text(text)
    return file


def _keeping(kept: str) -> str:
    return f"keep_firing_for: {kept}\n"
