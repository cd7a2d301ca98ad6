"""A class of values: frozen, slotted, made by keyword, and the same as another that holds the same."""

from collections.abc import Mapping
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import ClassVar, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(kind: type[T]) -> type[T]:
    """A frozen, slotted, keyword-only dataclass, whose methods are those of every other.

    The library's own compiles six of them for each class, which for two hundred is a quarter of all loading.
    """
    return _made(kind, kw_only=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def by_place(kind: type[T]) -> type[T]:
    """The same, whose fields can be given by their place too."""
    return _made(kind, kw_only=False)


def _made(kind: type[T], *, kw_only: bool) -> type[T]:
    made = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(kind)
    made._form = _Form(made)  # type: ignore[attr-defined]  # as _Value declares it
    for method in METHODS:
        setattr(made, method.__name__, method)
    return made


class _Form:
    """The fields of one kind of value, and what each is where none is given."""

    def __init__(self, kind: type) -> None:
        every = fields(kind)
        self.size = len(every)
        self._usual = {each.name: each.default for each in every if each.default is not MISSING}
        self._fresh = {each.name: each.default_factory for each in every if each.default_factory is not MISSING}
        self._order: tuple[str, ...] = kind.__match_args__  # type: ignore[attr-defined]  # as every dataclass has it
        self.compared = attrgetter("__class__", *(each.name for each in every if each.compare))
        self.shown = tuple(each.name for each in every if each.repr)

    def named(self, placed: tuple[object, ...]) -> Mapping[str, object]:
        """What is given by its place, by name; raises TypeError where there are fewer places."""
        if len(placed) > len(self._order):
            raise TypeError(f"of {len(placed)} values that are given by place only {len(self._order)} have one")
        return dict(zip(self._order, placed, strict=False))

    def whole(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """What is given, and all that is not; raises TypeError where there is nothing to be had for a field."""
        made = {name: make() for name, make in self._fresh.items() if name not in given}
        whole = {**self._usual, **made, **given}
        if len(whole) < self.size:
            raise TypeError(f"of its {self.size} fields only these are told: {', '.join(whole)}")
        return whole


class _Value:
    """What every kind of value does, by its form."""

    _form: ClassVar[_Form]

    def __init__(self, /, *placed: object, **given: object) -> None:
        if placed:
            given = {**self._form.named(placed), **given}
        _fill(self, given if len(given) == self._form.size else self._form.whole(given))

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        compared = self._form.compared
        return bool(compared(self) == compared(other))

    def __hash__(self) -> int:
        return hash(self._form.compared(self))

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._form.shown)
        return f"{type(self).__qualname__}({told})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __setstate__(self, state: tuple[None, Mapping[str, object]]) -> None:
        _, slots = state
        _fill(self, slots)


def _fill(value: _Value, given: Mapping[str, object]) -> None:
    put = object.__setattr__
    for name, each in given.items():
        put(value, name, each)


METHODS = (
    _Value.__init__,
    _Value.__eq__,
    _Value.__hash__,
    _Value.__repr__,
    _Value.__setattr__,
    _Value.__delattr__,
    _Value.__setstate__,
)
