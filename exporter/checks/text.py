"""What was said, and whether it holds what was expected."""

import re
from collections.abc import Iterator, Mapping

from exporter.checks.numbers import Range
from exporter.paths import Json, Path
from exporter.response import parsed
from exporter.wire import Answer, Failed

VISIBLE = re.compile(r"[^\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
THINKING, THOUGHT = "<think>", "</think>"
SPENT = {None, "length", "max_tokens", "MAX_TOKENS"}
"""How servers say that the budget has ended an answer; one that says nothing may mean it too."""
FENCE = re.compile(r"\s*```[^\n]*\n(.*)```\s*", re.DOTALL)


def spoken(answer: Answer) -> str | None:
    """What was said once the thinking was over; None where the budget ended before that."""
    # Where the server has no parser for it, the reasoning stands in the text.
    _, thought, said = answer.text.rpartition(THOUGHT)
    if said.lstrip().startswith(THINKING):
        thought, said = THINKING, ""
    unspoken = not said.strip() and (thought or answer.thought) and answer.finish in SPENT
    return None if unspoken else said


def unfenced(text: str) -> str:
    """A text without the fence that models put around code."""
    fenced = FENCE.fullmatch(text)
    return fenced[1] if fenced else text


def misplaced(text: str, wanted: Mapping[str, Json | Range]) -> Iterator[str]:
    """What of the values expected in a JSON text does not stand in its place."""
    try:
        document = parsed(unfenced(text))
    except Failed as error:
        yield error.detail
        return
    for place, value in wanted.items():
        found = Path.parse(place).values(document)
        if not found or not all(_is(each, value) for each in found):
            yield f"{place} is not {value if isinstance(value, Range) else repr(value)}"


def _is(found: Json, wanted: Json | Range) -> bool:
    if isinstance(wanted, Range):
        return isinstance(found, int | float) and not isinstance(found, bool) and wanted.holds(found)
    return found == wanted and isinstance(found, bool) is isinstance(wanted, bool)
