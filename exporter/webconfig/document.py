"""A YAML file read section by section; what nobody asks for in it is refused, by its name and line."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import yaml

from exporter.frozen import frozen
from exporter.nearest import nearest

T = TypeVar("T")

NULL = "tag:yaml.org,2002:null"
SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}


class WrongWebConfig(Exception):  # noqa: N818  it reads as the sentence it raises
    """The file, or one that it names, cannot be used; the message tells where and why, and holds no secret."""


@frozen
class Setting:
    """One setting as it stands in a file."""

    file: Path
    name: str
    node: yaml.Node

    def wrong(self, found: str) -> WrongWebConfig:
        """What is to be raised where it cannot be used."""
        return WrongWebConfig(f"{self.file}:{self.node.start_mark.line + 1}: {self.name or 'the file'} is {found}")

    def unknown(self, typed: str, valid: Collection[str]) -> WrongWebConfig:
        """What is to be raised where it has a name that nothing has."""
        return self.wrong(f"unknown, {_meant(typed, valid)}")

    @property
    def text(self) -> str:
        """As it was typed, and empty where nothing was."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.wrong("several values, expected one")
        return "" if self.node.tag == NULL else str(self.node.value)

    @property
    def texts(self) -> tuple[str, ...]:
        """Each of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("not a list")
        return tuple(Setting(file=self.file, name=self.name, node=each).text for each in self.node.value)

    @property
    def parts(self) -> Mapping[str, "Setting"]:
        """What stands under it, by its names."""
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag == NULL:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong("not a section, expected names and values")
        parts: dict[str, Setting] = {}
        for key, node in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise Setting(file=self.file, name=self.name, node=key).wrong("without a name")
            part = Setting(file=self.file, name=f"{self.name}.{key.value}".lstrip("."), node=node)
            if key.value in parts:
                raise part.wrong("given twice")
            parts[key.value] = part
        return parts


class Section:
    """Settings under one name, each asked for by its own; `end` refuses those that nobody has asked for."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._parts = setting.parts
        self._asked: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, Setting]]:
        """Every setting by its name, where any name will do."""
        return iter(self._parts.items())

    def get(self, name: str) -> Setting | None:
        """A setting; None where it is not given, or without a value."""
        self._asked.append(name)
        part = self._parts.get(name)
        return None if part is None or part.node.tag == NULL else part

    def under(self, name: str) -> "Section":
        """The section of that name, empty where it is not given."""
        absent = yaml.ScalarNode(NULL, "", self._setting.node.start_mark)
        return Section(self.get(name) or Setting(file=self._setting.file, name=name, node=absent))

    def text(self, name: str) -> str:
        """A text, empty where it is not given."""
        part = self.get(name)
        return "" if part is None else part.text

    def switch(self, name: str, *, default: bool) -> bool:
        """Whether it is on."""
        return self.one_of(SWITCHES, name, default, folded=True)

    def one_of(self, values: Mapping[str, T], name: str, default: T, *, folded: bool = False) -> T:
        """The value that a word of a closed set stands for."""
        part = self.get(name)
        if part is None or not part.text:
            return default
        return valued(part, part.text.lower() if folded else part.text, values)

    def all_of(self, values: Mapping[str, T], name: str) -> tuple[T, ...]:
        """The values that a list of words of a closed set stands for."""
        part = self.get(name)
        return () if part is None else tuple(valued(part, word, values) for word in part.texts)

    def end(self) -> None:
        """Raises WrongWebConfig for what is none of the settings that were asked for."""
        for name, part in self:
            if name not in self._asked:
                raise part.unknown(name, self._asked)

    def wrong(self, found: str) -> WrongWebConfig:
        """What is to be raised where its settings do not go together."""
        return self._setting.wrong(found)

    def lacks(self, name: str) -> WrongWebConfig:
        """What is to be raised where a setting is needed that is not given."""
        return self._setting.wrong(f"without {name}")


def valued(setting: Setting, word: str, values: Mapping[str, T]) -> T:
    """The value that a word stands for in a setting."""
    if word not in values:
        raise setting.wrong(f"{word!r}, {_meant(word, values)}")
    return values[word]


def _meant(typed: str, valid: Collection[str]) -> str:
    near = nearest(typed, valid)
    return f"did you mean {near}?" if near else f"expected one of {', '.join(valid)}"


def document(file: Path) -> Section:
    """What a file says; raises WrongWebConfig where it is no YAML of names and values."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise WrongWebConfig(f"{file} is not readable: {error.strerror or error}") from error
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise WrongWebConfig(f"{file}:{line} is not valid YAML: {' '.join(str(error.problem).split())}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise WrongWebConfig(f"{file} is not valid YAML in UTF-8") from error
    empty = yaml.ScalarNode(NULL, "", yaml.Mark("", 0, 0, 0, None, 0))
    return Section(Setting(file=file, name="", node=root or empty))
