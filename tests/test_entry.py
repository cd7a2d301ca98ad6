"""How the program begins: it loads what it needs, reads what it was given once, and runs no code of others."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

from tests.daemon import ROOT, ended, started

LEAN = """
import sys
from exporter.settings import load

for environ in {"MODEL_SIDECAR_URL": "http://localhost:8000"}, {"MODEL_SIDECAR_GPU__EVERY": "3s"}:
    load({}, file=None, environ=environ)
    print("pydantic_settings" in sys.modules)
"""


def test_what_takes_variables_apart_is_loaded_only_where_there_are_some_to_take_apart() -> None:
    ran = subprocess.run([sys.executable, "-c", LEAN], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("False\nTrue\n", "")


def test_settings_are_read_once_so_that_they_can_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yml"
    os.mkfifo(pipe)
    Thread(target=pipe.write_text, args=["gpu: {enabled: false}"], daemon=True).start()

    with started(tmp_path, None, f"--config.file={pipe}") as daemon:
        page = daemon.scrape()

    assert page.samples("model_sidecar_collection_attempts_total", source="host")
    assert not page.samples("model_sidecar_collection_attempts_total", source="gpu")


def test_a_plugin_of_pydantic_that_happens_to_be_installed_is_not_run(tmp_path: Path) -> None:
    named = tmp_path / "spy-1.dist-info"
    named.mkdir()
    (named / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1\n")
    (named / "entry_points.txt").write_text("[pydantic]\nspy = spy:plugin\n")
    (tmp_path / "spy.py").write_text("raise SystemExit('the plugin was run')\n")

    run = ended("config", "check", "http://localhost:8000", environment={"PYTHONPATH": str(tmp_path)})

    assert (run.returncode, run.stderr) == (0, "")
