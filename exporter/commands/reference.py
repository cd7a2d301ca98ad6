"""The tables of README, made from the declarations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from exporter import engines
from exporter.app import CATALOG
from exporter.settings import reference as settings


def write(file: Path) -> int:
    """Put the tables between their marks in a file."""
    file.write_text(filled(file.read_text()))
    return 0


def filled(text: str) -> str:
    """A text with each table between its marks, `<!-- NAME -->` and `<!-- end of NAME -->`, made anew."""
    for name, rows in _tables().items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        table = "\n".join([begin, *rows, end])
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        text = before + table + after if found and closed else text
    return text


def _tables() -> Mapping[str, Iterable[str]]:
    return {
        "engines": _table(
            ("engine", "recognised by", "asked in", "evidence"),
            ((f"`{each.engine}`", each.recognised_by, each.protocol, each.evidence) for each in engines.rows()),
        ),
        "settings": _table(
            ("setting", "default", "what it is for"),
            ((f"`{each.name}`", f"`{each.default}`" if each.default else "", each.description) for each in settings()),
        ),
        "metrics": _table(
            ("metric", "type", "labels", "what it says"),
            ((f"`{each.name}`", each.kind, ", ".join(each.labels), each.help) for each in CATALOG.reference()),
        ),
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
