"""Writes every dashboard anew: `python -m deploy.grafana.make`, into another folder where one is named."""

import sys
from pathlib import Path

from deploy.grafana.make.files import FOLDER, files

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
for name, text in files().items():
    (folder / name).write_text(text)
