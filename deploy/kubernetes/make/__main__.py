"""Writes the folder rules anew: `python -m deploy.kubernetes.make`, into another folder where one is named."""

import sys
from pathlib import Path

from deploy.kubernetes.make import FOLDER, files

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
made = files()
for left_over in {file.name for file in folder.glob("*.y*ml")} - made.keys():
    (folder / left_over).unlink()
for name, text in made.items():
    (folder / name).write_text(text)
