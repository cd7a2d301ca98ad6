"""README says what the declarations say."""

from pathlib import Path

from exporter.commands.reference import filled
from exporter.services import CATALOG

README = Path(__file__).parent.parent / "README.md"


def test_the_tables_of_readme_are_made_from_the_declarations() -> None:
    text = README.read_text()

    assert filled(text) == text, "run: python -m exporter reference README.md"


def test_every_metric_has_a_row() -> None:
    text = README.read_text()

    missing = [entry.name for entry in CATALOG.reference() if f"`{entry.name}`" not in text]

    assert not missing
