"""The tables of README, made from the declarations, and the rules of `deploy` that are made from a table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from exporter import engines
from exporter.commands import dcgm, environment
from exporter.services import CATALOG
from exporter.settings import reference as settings
from exporter.verdict.standing import State
from exporter.verdict.words import MEANINGS, TRIES


def write(file: Path) -> int:
    """Put the tables and rules between their marks in a file."""
    file.write_text(filled(file.read_text()))
    return 0


def filled(text: str) -> str:
    """A text with each table between its marks, `<!-- NAME -->` and `<!-- end of NAME -->`, made anew.

    Where it is YAML or a file of variables, its marks are comments.
    """
    for name, rows in _tables().items():
        text = _between(text, f"<!-- {name} -->", f"<!-- end of {name} -->", rows)
    for name, lines in {"dcgm-names": dcgm.rules(), "environment": environment.lines()}.items():
        text = _between(text, f"# <!-- {name} -->", f"# <!-- end of {name} -->", lines)
    return text


def _between(text: str, begin: str, end: str, rows: Iterable[str]) -> str:
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    return before + "\n".join([begin, *rows, end]) + after if found and closed else text


def _tables() -> Mapping[str, Iterable[str]]:
    return {
        "engines": _table(
            ("engine", "recognised by", "asked in", "evidence"),
            ((f"`{each.engine}`", each.recognised_by, each.protocol, each.evidence) for each in engines.rows()),
        ),
        "states": _table(
            ("state", "the service is", "what to try"),
            ((f"`{state}`", MEANINGS[state], TRIES[state]) for state in State),
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
