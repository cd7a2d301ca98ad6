"""Which name was meant, where one was typed that nothing has."""

from collections.abc import Iterable


def nearest(typed: str, valid: Iterable[str]) -> str | None:
    """The most like it of those that there are; None where none is like it."""
    # Whoever has typed everything right does without all that this takes.
    from difflib import get_close_matches  # noqa: PLC0415  as above

    return next(iter(get_close_matches(typed, [*valid], 1)), None)
