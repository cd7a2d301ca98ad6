"""The services' keys: from variables of the environment, or from files that the settings name."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr

from exporter.keys import key_in, sendable
from exporter.nearest import nearest
from exporter.settings.environment import API_KEY, NESTED
from exporter.settings.kinds import LoadedKey
from exporter.settings.mistakes import NOT_SHOWN, Mistake, WrongSettings
from exporter.settings.model import Settings, Target
from exporter.settings.origins import Layer, origin
from exporter.settings.sections import dotted


def with_keys(
    settings: Settings, variables: Mapping[str, str], *, environ: Mapping[str, str], layers: Sequence[Layer]
) -> Settings:
    """The settings with each target's key, of which a variable stands before a file.

    Where files list targets, a variable of nobody may be for one of them, and is kept. Raises WrongSettings where a
    key is nobody's, or cannot be had.
    """
    spare = _spare(settings, variables)
    wrong = [*_astray(settings.targets, variables.keys() - spare.keys()), *_unsendable(spare)]
    targets = []
    for number, target in enumerate(settings.targets):
        mine = [variable for variable in variables if _is_meant(variable, target)]
        try:
            targets.append(_with_key(target, [variables[variable] for variable in mine], environ))
        except ValueError as error:
            file = origin(("targets", number, "api_key_file"), layers)
            wrong.append(
                Mistake(place=mine[0], found=NOT_SHOWN, expected=str(error))
                if mine
                else Mistake(place=file.place, setting=dotted(file.setting), found=str(file.typed), expected=str(error))
            )
    if wrong:
        raise WrongSettings(*wrong)
    kept = {variable: SecretStr(text.strip()) for variable, text in spare.items()}
    return settings.model_copy(update={"targets": tuple(targets), "keys_of_files": kept})


def with_kept_keys(targets: Sequence[Target], settings: Settings) -> tuple[Target, ...]:
    """The targets of a file with their keys; raises WrongSettings where one is meant for several."""
    keyed = list(targets)
    for variable, secret in settings.keys_of_files.items():
        meant = [number for number, target in enumerate(targets) if _is_meant(variable, target)]
        if len({targets[number].name for number in meant}) > 1:
            several = f"one target, not {len(meant)}"
            raise WrongSettings(Mistake(place=variable, found="for one service", expected=several))
        for number in meant:
            keyed[number] = keyed[number].model_copy(update={"api_key": LoadedKey(secret=secret, file=None)})
    return tuple(keyed)


def _spare(settings: Settings, variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables with keys of none of the targets, where there are files that may list others."""
    if not settings.targets_files:
        return {}
    mine = {variable for variable in variables for target in settings.targets if _is_meant(variable, target)}
    return {name: text for name, text in variables.items() if name not in mine and name.upper() != API_KEY}


def _unsendable(variables: Mapping[str, str]) -> Iterator[Mistake]:
    for variable, text in variables.items():
        try:
            sendable(text.strip())
        except ValueError as error:
            yield Mistake(place=variable, found=NOT_SHOWN, expected=str(error))


def _variable(target: Target) -> str:
    return f"{API_KEY}{NESTED}{re.sub('[^A-Z0-9]', '_', target.name.upper())}"


def _is_meant(variable: str, target: Target) -> bool:
    return variable.upper() in {API_KEY, _variable(target)}


def _astray(targets: Sequence[Target], variables: Iterable[str]) -> Iterator[Mistake]:
    """The variables that hold the key of no target, or of several."""
    valid = [_variable(target) for target in targets]
    for variable in variables:
        names = [target.name for target in targets if _is_meant(variable, target)]
        if not names and variable.upper() != API_KEY:
            near = nearest(variable.upper(), valid)
            yield Mistake(place=variable, found="the key of no target", expected="a target's name", nearest=near)
        elif len(names) != 1:
            yield Mistake(place=variable, found="for one service", expected=f"one target, not {len(names)}")


def _with_key(target: Target, held: Sequence[str], environ: Mapping[str, str]) -> Target:
    file = _path(target.api_key_file, environ) if target.api_key_file and not held else None
    if file is None and not held:
        return target
    if "authorization" in map(str.lower, target.headers):
        raise ValueError("none, since headers hold Authorization")
    text = key_in(file) if file is not None else sendable(held[-1].strip())
    return target.model_copy(update={"api_key": LoadedKey(secret=SecretStr(text), file=file)})


def _path(typed: str, environ: Mapping[str, str]) -> Path:
    for name in re.findall(r"\$\{(\w+)\}", typed):
        if name not in environ:
            raise ValueError(f"the variable {name} to be set")
    return Path(re.sub(r"\$\{(\w+)\}", lambda variable: environ[variable[1]], typed))
