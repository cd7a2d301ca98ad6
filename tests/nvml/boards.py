"""Boards as data: what each answers, at rest and at work."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

BOARDS = Path(__file__).parent / "boards"
NAMES = tuple(sorted(file.stem for file in BOARDS.glob("*.toml")))


def words(board: str, gpu: int | str = "*", *, load: bool = False) -> dict[str, object]:
    """What the script says for a board; with load, no more than what differs while it works."""
    told = tomllib.loads((BOARDS / f"{board}.toml").read_text())
    return {f"gpu.{gpu}.{key}": word for key, word in _flat(told["load" if load else "idle"])}


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, word in table.items():
        if isinstance(word, Mapping):
            yield from _flat(word, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", word
