"""What an operator typed wrong: where it stands, what was typed, and what was expected."""

import json
import re
from collections.abc import Collection, Mapping

from exporter.frozen import frozen
from exporter.nearest import nearest
from exporter.settings.later import is_later

LATER = "known, but not in this version"
NOT_SHOWN = "(not shown)"
LONGEST = 80


@frozen
class Mistake:
    """One thing that was typed wrong: `found` is what was typed, or what is the matter with it."""

    place: str
    setting: str = ""
    found: str
    expected: str = ""
    nearest: str | None = None

    def __str__(self) -> str:
        subject = f"{self.place}: {self.setting}" if self.setting else self.place
        tail = f", did you mean {self.nearest}?" if self.nearest else self.expected and f", expected {self.expected}"
        return "".join(_printed(character) for character in f"{subject} is {self.found}{tail}")


def _printed(character: str) -> str:
    """A character as it stands on one line; what is typed may hold any."""
    return character if character.isprintable() else ascii(character)[1:-1]


class WrongSettings(Exception):  # noqa: N818  it reads as the sentence it raises
    """The settings cannot be used; each mistake is one line for the operator."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


def stranger(place: str, setting: str, *, names: tuple[str, ...], valid: Collection[str], typed: str) -> Mistake:
    """A name that nothing has, or nothing yet: `names` lead to it from the top, `valid` would do in its place."""
    if is_later(names):
        return Mistake(place=place, setting=setting, found=LATER)
    expected = f"one of {', '.join(valid)}" if valid else ""
    return Mistake(place=place, setting=setting, found="unknown", expected=expected, nearest=nearest(typed, valid))


def shown(value: object) -> str:
    """A value on one line, without what could be a secret in an address."""
    match value:
        case Mapping():
            return "names and values"
        case list() | tuple():
            return "a list"
        case None:
            return "none"
        case str():
            text = re.sub(r"(?<=//)[^/@\s]*@", "***@", value)
            text = re.sub(r"(?<=\?).*", "***", text) if "://" in text else text
            return json.dumps(text if len(text) <= LONGEST else f"{text[:LONGEST]}…", ensure_ascii=False)
        case _:
            return json.dumps(value, default=str)
