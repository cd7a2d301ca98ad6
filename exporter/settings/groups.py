"""Files of targets: the format of Prometheus's file_sd, and which services its groups are."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from exporter.settings.file import Loader
from exporter.settings.keys import with_kept_keys
from exporter.settings.kinds import Text
from exporter.settings.mistakes import Mistake, WrongSettings, shown
from exporter.settings.model import SHARED, Server, Settings, Target
from exporter.settings.origins import expected
from exporter.settings.sections import Place, Section, dotted, setting

MOST = 5000
MOST_BYTES = 4 * 2**20
LONGEST_NAME = 63
SCHEME, METRICS_PATH = "__scheme__", "__metrics_path__"
LABELS = ("name", "engine", "model")
"""Labels that are a service's settings; any other is for Prometheus, as all that begin with __ are but two."""

# YAML takes 8000 for a number, which is a label's text all the same.
LabelText = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in {int, float} else value)]


class Group(Section):
    """Addresses that are alike."""

    targets: tuple[Text, ...] = setting((), "The services' addresses, host:port or a url.")
    labels: Mapping[str, LabelText] = setting({}, "What holds for each of them.")


GROUPS = TypeAdapter(tuple[Group, ...])


def targets_in(path: Path, settings: Settings) -> tuple[Target, ...]:
    """The services that a file lists, set up as these settings have it for every service; raises WrongSettings."""
    document = _document(path)
    try:
        groups = GROUPS.validate_python(document or ())
    except ValidationError as error:
        raise WrongSettings(*(_wrong(path, each, ()) for each in error.errors(include_url=False))) from error
    wrong: list[Mistake] = []
    found: list[Target] = []
    for number, group, address in islice(_addresses(groups), MOST):
        try:
            found.append(Target.model_validate(_given(group, address, settings)))
        except ValidationError as error:
            wrong += (_wrong(path, each, (number,), address) for each in error.errors(include_url=False))
    if wrong:
        raise WrongSettings(*wrong)
    return with_kept_keys(found, settings)


def named(name: str, address: str) -> str:
    """What one of several services of a name is called."""
    ending = "-" + re.sub("[^A-Za-z0-9._:-]", "", address)
    return name[: LONGEST_NAME - len(ending)] + ending[:LONGEST_NAME]


def _document(path: Path) -> object:
    try:
        with path.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise WrongSettings(Mistake(place=str(path), found=f"longer than {MOST_BYTES >> 20} MiB"))
        text = content.decode("utf-8-sig")
        document: object = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader)  # noqa: S506  a safe one
    except OSError as error:
        raise WrongSettings(Mistake(place=str(path), found=f"not readable: {error.strerror}")) from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        found = f"not valid {'JSON' if path.suffix == '.json' else 'YAML'}: {' '.join(str(error).split())}"
        raise WrongSettings(Mistake(place=str(path), found=found)) from error
    return document


def _addresses(groups: tuple[Group, ...]) -> Iterator[tuple[int, Group, str]]:
    for number, group in enumerate(groups):
        yield from ((number, group, address) for address in group.targets)


def _given(group: Group, address: str, settings: Settings) -> Mapping[str, object]:
    labels = {name: group.labels[name] for name in LABELS if name in group.labels}
    if "name" in labels and len(group.targets) > 1:
        labels["name"] = named(labels["name"], address.rpartition("/")[2])
    shared: dict[str, object] = {name: getattr(settings, name) for name in SHARED}
    if METRICS_PATH in group.labels:
        path = Server.model_validate({"path": group.labels[METRICS_PATH]}).path
        shared["server"] = settings.server.model_copy(update={"path": path})
    scheme = group.labels.get(SCHEME, "http")
    return {**shared, **labels, "url": address if "://" in address else f"{scheme}://{address}"}


def _wrong(path: Path, wrong: ErrorDetails, group: Place, address: str = "") -> Mistake:
    about = (*group, *wrong["loc"])
    found = "unknown" if wrong["type"] == "extra_forbidden" else shown(wrong["input"])
    where = f"{dotted(about)} of {shown(address)}" if address else dotted(about)
    return Mistake(place=str(path), setting=where, found=found, expected=expected(wrong, None))
