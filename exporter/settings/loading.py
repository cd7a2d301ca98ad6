"""Settings out of flags, environment, file and defaults, each before the next; or every mistake in them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

from pydantic import ValidationError

from exporter.frozen import frozen
from exporter.settings.environment import Environment, environment
from exporter.settings.file import File, read
from exporter.settings.keys import with_keys
from exporter.settings.mistakes import Mistake, WrongSettings, shown
from exporter.settings.model import Settings, Target
from exporter.settings.origins import mistakes
from exporter.settings.sections import Place, nearest, overlaid, stands, value_at

FLAGS: Mapping[Place, str] = {
    ("targets", 0, "url"): "URL",
    ("targets", 0, "name"): "--name",
    ("web", "listen_address"): "--web.listen-address",
    ("web", "config_file"): "--web.config.file",
    ("web", "enable_lifecycle"): "--web.enable-lifecycle",
    ("log", "level"): "--log.level",
    ("log", "format"): "--log.format",
}


@frozen
class Flags:
    """What the command line says."""

    given: Mapping[str, object]
    mistakes: tuple[Mistake, ...] = ()

    def place(self, setting: Place) -> str:
        """The flag of a setting, or one of the section that it would stand in."""
        return FLAGS[nearest(setting, [flag for flag in FLAGS if stands(self.given, flag)] or FLAGS)]

    def typed(self, setting: Place) -> str:
        """A setting as it was typed."""
        return shown(value_at(self.given, setting))

    @property
    def lists(self) -> bool:
        """Whether it says which services there are."""
        return stands(self.given, ("targets", 0, "url"))

    @property
    def one_service(self) -> bool:
        """Whether it speaks of one service alone, which may stand in another layer too."""
        return stands(self.given, ("targets", 0))


Typed = Flags | Environment | File


def load(flags: Mapping[str, object], *, file: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings in force; raises WrongSettings with every mistake that was made in them.

    `flags` are settings by their names, sections in sections; a URL is {"targets": [{"url": …, "name": …}]}.
    """
    variables = environment(environ)
    layers, wrong = _one_list([Flags(given=flags), variables, *([read(file)] if file is not None else [])])
    wrong += [mistake for layer in layers for mistake in layer.mistakes]
    try:
        settings = Settings.model_validate(reduce(_over, [layer.given for layer in layers]))
    except ValidationError as error:
        wrong += mistakes(error, layers)
    if wrong:
        raise WrongSettings(*sorted(dict.fromkeys(wrong), key=_line))
    return with_keys(settings, variables.keys, environ=environ, layers=layers)


def _line(mistake: Mistake) -> int:
    """The line of the file, so that an editor can be led through it; 0 where it is none."""
    _, _, line = mistake.place.rpartition(":")
    return int(line) if line.isdecimal() else 0


def _one_list(layers: Sequence[Typed]) -> tuple[list[Typed], list[Mistake]]:
    """The layers with one list of services, the first; what another says of one service goes with a list of one."""
    listing = next((layer for layer in layers if layer.lists), None)
    if listing is None:
        return [*layers], []
    services = listing.given["targets"]
    number = len(services) if isinstance(services, list) else 1
    outdone = [layer for layer in layers if layer is not listing and not (layer.one_service and number == 1)]
    astray = [mistake for layer in outdone if layer.one_service for mistake in _for_one(layer, number)]
    return [_without_targets(layer) if layer in outdone else layer for layer in layers], astray


def _for_one(layer: Typed, number: int) -> Iterator[Mistake]:
    for name in value_at(layer.given, ("targets", 0)):
        yield Mistake(
            place=layer.place(("targets", 0, name)), found="for one service", expected=f"one target, not {number}"
        )


def _without_targets(layer: Typed) -> Typed:
    return replace(layer, given={name: value for name, value in layer.given.items() if name != "targets"})


def _over(upper: Mapping[str, object], lower: Mapping[str, object]) -> Mapping[str, object]:
    """Settings of two layers in one; one service that both speak of has what either says."""
    joined = overlaid(Settings, lower, upper)
    match upper.get("targets"), lower.get("targets"):
        case [Mapping() as more], [Mapping() as less]:
            joined["targets"] = [overlaid(Target, less, more)]
    return joined
