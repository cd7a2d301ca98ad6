"""Where a value stands in a JSON document: RFC 9535 where the path begins with `$`, else dotted keys and indexes."""

from dataclasses import dataclass
from typing import Self

Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@dataclass(frozen=True, slots=True)
class Path:
    """A place in a JSON document, such as `data.0.text` or `$.data[0].text`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The path that a person typed.

        Raises ValueError that says what is wrong with it.
        """
        if text.startswith("$"):
            _rfc9535(text)
        elif not all(text.split(".")):
            raise ValueError(f"{text!r} has an empty part: write keys and indexes with one dot between, data.0.text")
        return cls(text)

    def values(self, document: Json) -> list[Json]:
        """Every value that stands there, none where the document has no such place."""
        if self.text.startswith("$"):
            return _rfc9535(self.text, document)
        place = document
        for part in self.text.split("."):
            match place:
                case dict() if part in place:
                    place = place[part]
                case list() if part.lstrip("-").isdecimal() and -len(place) <= int(part) < len(place):
                    place = place[int(part)]
                case _:
                    return []
        return [place]


def _rfc9535(text: str, document: Json = None) -> list[Json]:
    # Loaded here, since it costs 5.6 MB and few paths begin with $.
    import jsonpath  # noqa: PLC0415

    try:
        found: list[Json] = list(jsonpath.JSONPathEnvironment(strict=True).findall(text, document or {}))  # type: ignore[arg-type]  # any JSON
    except jsonpath.JSONPathError as error:
        raise ValueError(f"{text!r} is not a JSON path by RFC 9535: {error}") from error
    return found
