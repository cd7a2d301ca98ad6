"""Where a value stands in a JSON document: RFC 9535 where the path begins with `$`, else dotted keys and indexes."""

import re
from typing import Self

from exporter.frozen import by_place

Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

INDEX = re.compile(r"-?[0-9]{1,9}")


@by_place
class Path:
    """A place in a JSON document, such as `data.0.text` or `$.data[0].text`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The path that a person typed.

        Raises ValueError that says what is wrong with it.
        """
        if text.startswith("$"):
            _rfc9535(text, {})
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
                case list() if INDEX.fullmatch(part) and -len(place) <= int(part) < len(place):
                    place = place[int(part)]
                case _:
                    return []
        return [place]


def _rfc9535(text: str, document: Json) -> list[Json]:
    # Loaded here, since it costs 5.6 MB and few paths begin with $.
    import jsonpath  # noqa: PLC0415

    try:
        path = jsonpath.JSONPathEnvironment(strict=True).compile(text)
    except jsonpath.JSONPathError as error:
        raise ValueError(f"{text!r} is not a JSON path by RFC 9535: {error}") from error
    if not isinstance(document, list | dict):
        # The library would read a text as JSON.
        return [document] if text == "$" else []
    try:
        return list(path.findall(document))  # type: ignore[arg-type]  # what it finds in JSON is JSON
    except jsonpath.JSONPathError:  # deeper than it goes, or a filter that does not fit the values
        return []
