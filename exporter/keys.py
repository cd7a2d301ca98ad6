"""What may be a key, and where it is kept."""

from pathlib import Path

LONGEST = 64 * 2**10
"""Bytes of a file that are read."""


def sendable(text: str) -> str:
    """A text that can stand in a header; raises ValueError, saying what was expected, where it cannot."""
    if not (text and text.isascii() and text.isprintable()):
        raise ValueError("one line of printable ASCII")
    return text


def key_in(file: Path) -> str:
    """The key that a file holds; raises ValueError, saying what was expected, where it holds none."""
    try:
        with file.open(encoding="utf-8") as opened:
            return sendable(opened.read(LONGEST).strip())
    except UnicodeDecodeError as error:
        raise ValueError("a file of text") from error
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from error
