"""The settings file: YAML, with the line of everything that stands in it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from exporter.frozen import frozen
from exporter.settings.mistakes import Mistake, WrongSettings, shown
from exporter.settings.sections import Place, dotted, value_at

MERGE = "<<"


class Loader(yaml.SafeLoader):
    """Reads YAML as JSON would have it."""

    # A date stays the text that it is in JSON, which bodies and expectations are made of.
    yaml_implicit_resolvers = {  # noqa: RUF012  as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@frozen
class File:
    """What a file says, and on which line."""

    path: Path
    given: Mapping[str, object]
    root: yaml.Node | None
    mistakes: tuple[Mistake, ...] = ()

    def place(self, setting: Place) -> str:
        """The file and the line of a setting, or of the last part of its name that stands there."""
        *_, (line, _) = _steps(self.root, setting)
        return f"{self.path}:{line}"

    def typed(self, setting: Place) -> str:
        """A setting as it stands in the file."""
        *_, (_, node) = _steps(self.root, setting)
        return shown(node.value if isinstance(node, yaml.ScalarNode) else value_at(self.given, setting))

    @property
    def lists(self) -> bool:
        """Whether it says which services there are."""
        return "targets" in self.given

    @property
    def one_service(self) -> bool:
        """Whether it speaks of one service alone, which may stand in another layer too."""
        return False


def _steps(node: yaml.Node | None, setting: Place) -> Iterator[tuple[int, yaml.Node | None]]:
    """The line and the node of each part of a setting's name that stands there, from the top."""
    yield 1, node
    for part in setting:
        step = _step(node, part)
        if step is None:
            return
        line, node = step
        yield line, node


def _step(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return _line(node.value[part]), node.value[part]
    if isinstance(node, yaml.MappingNode):
        # What a merge key brings in stands first, and what the section says itself last.
        for key, value in reversed(node.value):
            if key.value == str(part):
                return _line(key), value
    return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def read(path: Path) -> File:
    """The settings that a file holds; raises WrongSettings where it cannot be read at all."""
    text = _text(path)
    if not text.strip():  # as a disk that is full leaves a file that was to be written
        raise WrongSettings(Mistake(place=str(path), found="empty", expected="settings, or {} for none"))
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        twice = tuple(_twice(path, root, (), set()))  # before merge keys are resolved, which may say a name again
        given = {} if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise _invalid(f"{path}:{line}", str(error.problem)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _invalid(f"{path}:{line}", f"the character U+{error.character:04X} must not stand here") from error
    except (RecursionError, ValueError) as error:
        raise _invalid(f"{path}:1", "a number in it is too long, or its parts stand too deep in one another") from error
    if not isinstance(given, Mapping):
        found = shown(root.value if isinstance(root, yaml.ScalarNode) else given)
        raise WrongSettings(Mistake(place=f"{path}:1", found=found, expected="names and values, such as targets:"))
    return File(path=path, given=given, root=root, mistakes=twice)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise WrongSettings(Mistake(place=str(path), found=f"not readable: {reason}")) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WrongSettings(Mistake(place=f"{path}:{line}", found="not UTF-8")) from error


def _invalid(place: str, problem: str) -> WrongSettings:
    return WrongSettings(Mistake(place=place, found=f"not valid YAML: {' '.join(problem.split())}"))


def _twice(path: Path, node: yaml.Node | None, setting: Place, seen: set[int]) -> Iterator[Mistake]:
    """The names that stand more than once in one section."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    first: dict[str, int] = {}
    for key, name, part in _parts(node):
        there = (*setting, name)
        if isinstance(name, str) and name != MERGE and name in first:
            expected = f"once, as on line {first[name]}"
            yield Mistake(place=f"{path}:{_line(key)}", setting=dotted(there), found="given twice", expected=expected)
        first.setdefault(str(name), _line(key))
        yield from _twice(path, part, there, seen)


def _parts(node: yaml.Node) -> Iterator[tuple[yaml.Node, str | int, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        yield from ((part, number, part) for number, part in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        yield from ((key, str(key.value), part) for key, part in node.value)
