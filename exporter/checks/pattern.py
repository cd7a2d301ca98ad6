"""Regular expressions that no text can make slow."""

from typing import Self

from exporter.frozen import by_place


@by_place
class Pattern:
    """A regular expression by RE2, whose time grows with the text and no faster."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The expression that a person typed.

        Raises ValueError that says what is wrong with it.
        """
        _matches(text, "")
        return cls(text)

    def found_in(self, text: str) -> bool:
        """Whether any part of a text matches."""
        return _matches(self.text, text)


def _matches(pattern: str, text: str) -> bool:
    # Loaded here, since it costs 3.5 MB and few answers are matched.
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415  it has no types

    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    try:
        # As text, since bytes would be taken for Latin-1.
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression by RE2: {error.args[0].decode()}") from error
    except UnicodeError as error:
        raise ValueError(f"{pattern!r} is no text") from error
    return compiled.search(text.encode(errors="replace").decode()) is not None
