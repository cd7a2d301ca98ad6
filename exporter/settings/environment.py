"""Settings by environment: MODEL_SIDECAR_ variables, and which of them are none of ours."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field

from exporter.frozen import frozen
from exporter.settings.mistakes import Mistake, shown, stranger
from exporter.settings.model import Settings
from exporter.settings.sections import Place, Section, is_joined, nearest, section_in, stands, value_at

PREFIX = "MODEL_SIDECAR_"
NESTED = "__"
TARGETS = f"{PREFIX}TARGETS"
API_KEY = f"{PREFIX}API_KEY"
ONE_SERVICE: Mapping[str, str] = {
    f"{PREFIX}URL": "url",
    f"{PREFIX}NAME": "name",
    f"{PREFIX}ENGINE": "engine",
    f"{PREFIX}MODEL": "model",
    f"{PREFIX}API_KEY_FILE": "api_key_file",
}

# Kubernetes sets these in every Pod for each Service whose name begins with model-sidecar.
LINK = re.compile(
    r"MODEL_SIDECAR_(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?)"
)
PORT_LINK = re.compile(r"MODEL_SIDECAR_(?:.+_)?PORT=(?:TCP|UDP|SCTP)://.*")


@frozen
class Environment:
    """What the environment says, and in which variables; keys are by the variable that holds them."""

    given: Mapping[str, object]
    variables: Mapping[Place, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()

    def place(self, setting: Place) -> str:
        """The variable of a setting, or one of the section that it would stand in."""
        return self.variables[nearest(setting, self.variables)]

    def typed(self, setting: Place) -> str:
        """A setting as the variable holds it."""
        return shown(value_at(self.given, setting))

    @property
    def lists(self) -> bool:
        """Whether it says which services there are."""
        return ("targets",) in self.variables or stands(self.given, ("targets", 0, "url"))

    @property
    def one_service(self) -> bool:
        """Whether it speaks of one service alone, which may stand in another layer too."""
        return ("targets",) not in self.variables and stands(self.given, ("targets", 0))


def environment(environ: Mapping[str, str]) -> Environment:
    """The settings that the environment holds; an empty variable is as good as none."""
    ours = {name: text for name, text in environ.items() if name.upper().startswith(PREFIX)}
    told = {name: text for name, text in ours.items() if text}
    keys = {name: text for name, text in told.items() if _is_key(name.upper())}
    service = {name: ONE_SERVICE[name.upper()] for name in told if name.upper() in ONE_SERVICE}
    known = variables()
    settings = {name: known[name.upper()] for name in told if name.upper() in known}
    given, wrong = _given({name: told[name] for name in settings})
    both = _both_forms({name.upper(): name for name in (*settings, *service, *keys)})
    if ("targets",) in settings.values():
        service = {}
    elif service:
        given["targets"] = [{setting: told[name] for name, setting in service.items()}]
    return Environment(
        given=given,
        variables={
            **{setting: name for name, setting in settings.items()},
            **{("targets", 0, setting): name for name, setting in service.items()},
        },
        keys=keys,
        mistakes=(*_strangers(ours, known), *wrong, *both),
    )


def variables() -> Mapping[str, Place]:
    """Every variable that sets one setting, but for those of one service."""
    return {f"{PREFIX}{NESTED.join(map(str, there)).upper()}": there for there in _nested(Settings, ())}


def _nested(section: type[Section], above: Place) -> Iterator[Place]:
    for name, field_ in section.settings().items():
        there, inner = (*above, name), section_in(field_)
        if inner is None or not is_joined(field_) or field_.metadata:  # a section with metadata has a word, such as off
            yield there
        if inner is not None and is_joined(field_):
            yield from _nested(inner, there)


def _is_key(name: str) -> bool:
    return name == API_KEY or name.startswith(f"{API_KEY}{NESTED}")


def _given(told: Mapping[str, str]) -> tuple[dict[str, object], list[Mistake]]:
    if not told:
        return {}, []
    # A twentieth of the start, of use only to those who set more by variables than one service.
    from exporter.settings.nested import nested  # noqa: PLC0415  as above

    given = nested(told, prefix=PREFIX, delimiter=NESTED)
    try:
        if isinstance(given.get("targets"), str):
            given["targets"] = json.loads(str(given["targets"]))
    except (ValueError, RecursionError) as error:
        given["targets"] = []
        wrong = Mistake(
            place=TARGETS, found=f"not JSON: {error}", expected='a list such as [{"url": "http://localhost:8000"}]'
        )
        return given, [wrong]
    return given, []


def _both_forms(typed: Mapping[str, str]) -> Iterator[Mistake]:
    """The variables that must not stand beside another; `typed` is how each name was typed."""
    rivals = [(name, TARGETS) for name in (*ONE_SERVICE, API_KEY)] + [(API_KEY, f"{API_KEY}_FILE")]
    rivals += [(inner, outer) for inner in typed for outer in typed if inner.startswith(f"{outer}{NESTED}")]
    for name, other in rivals:
        if name in typed and other in typed:
            yield Mistake(place=typed[name], found=f"given beside {typed[other]}", expected="only one of them")


def _strangers(ours: Mapping[str, str], known: Mapping[str, Place]) -> Iterator[Mistake]:
    valid = (*ONE_SERVICE, API_KEY, *known)
    for name, text in ours.items():
        if name.upper() in valid or _is_key(name.upper()) or _is_link(name.upper(), text):
            continue
        names = tuple(name.upper().removeprefix(PREFIX).lower().split(NESTED))
        within = tuple(variable for variable in known if variable.startswith(f"{name.upper()}{NESTED}"))
        yield stranger(name, "", names=names, valid=within or valid, typed=name.upper())


def _is_link(name: str, text: str) -> bool:
    # The name of a slip may end in _PORT too, MODEL_SIDECAR_PROCESS_PORT=8000; a link's text tells it apart.
    return LINK.fullmatch(name) is not None or PORT_LINK.fullmatch(f"{name}={text.upper()}") is not None
