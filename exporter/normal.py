"""A service's own figures by one set of names: chosen, added up over ranks and replicas, counted through restarts."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, islice, pairwise
from math import inf, isfinite
from statistics import fmean
from typing import Self, TypeVar

from exporter.figures import BY_ROUTE, COUNTS, LEVELS, SPREADS, Figure, Moves, Proof, Sum, Term, Vocabulary
from exporter.frozen import frozen
from exporter.reading import Distribution

K = TypeVar("K")
V = TypeVar("V")

SERIES_LIMIT = 100
KEPT = 5_000  # Series whose last value is remembered, so that one that was away for a while is not counted twice.
EDGES_LIMIT = 100
LONGEST_LABEL = 128
LARGEST = 2.0**53  # Beyond it a float no longer counts, and no engine does.

COPIES = ("tp_rank", "pp_rank", "moe_ep_rank")
"""Labels of ranks that all tell the same, where all of them tell."""

PARTS = ("priority",)
"""Labels by which parts of a total are told beside the total, which has them empty."""

START = "process_start_time_seconds"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of what a service tells."""

    name: str
    labels: Mapping[str, str]
    value: float


@frozen
class Owner:
    """Whose a figure is, where a service tells it of several."""

    model: str = ""
    handler: str = ""
    method: str = ""
    status: str = ""


Key = tuple[Figure, Owner]
Value = float | Distribution
Pairs = tuple[tuple[str, str], ...]
Series = Mapping[str, Mapping[Pairs, float]]
Vector = tuple[float, ...]
Source = tuple[Figure | Proof, float | None, str, Pairs]
"""One series for good: its process, by when that started, its name and its labels."""
Total = tuple[Figure | Proof, Owner, Vector]
"""What series are added up to; those of a histogram have edges, and only the same are added."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a series says at one look, and what that is added to."""

    total: Total
    vector: Vector
    moves: Moves

    def since(self, then: Vector | None) -> Vector:
        """What has been counted since it said that; None where it was never seen."""
        before = then if then is not None and len(then) == len(self.vector) else (0.0,) * len(self.vector)
        steps = tuple(now - was for now, was in zip(self.vector, before, strict=True))
        match self.moves:
            case Moves.UP:
                # One that has fallen has begun again from zero.
                return self.vector if min(steps) < 0 else steps
            case Moves.DOWN:
                return tuple(max(-step, 0.0) for step in steps)
            case Moves.EITHER:
                return tuple(map(abs, steps))


@frozen
class Item:
    """One series or one histogram, in our unit."""

    term: Term
    labels: Mapping[str, str]
    vector: Vector
    edges: Vector = ()

    @property
    def one(self) -> Pairs:
        """What tells it from others that are no copies of it."""
        return tuple(sorted((name, value) for name, value in self.labels.items() if name not in COPIES))

    @property
    def rank(self) -> tuple[tuple[int, str], ...]:
        """Its place among its copies."""
        return tuple((len(self.labels.get(name, "")), self.labels.get(name, "")) for name in COPIES)

    def matches(self, patterns: Mapping[str, str]) -> bool:
        """Whether it has all of these labels with values of these patterns."""
        return all(re.fullmatch(pattern, self.labels.get(name, "")) for name, pattern in patterns.items())


@frozen
class Account:
    """What counters have come to, through every restart of what counts."""

    last: Mapping[Source, Vector] = field(default_factory=dict)
    totals: Mapping[Total, Vector] = field(default_factory=dict)

    def plus(self, seen: Mapping[Source, Seen]) -> Self:
        """This account after one more look."""
        last, totals = dict(self.last), dict(self.totals)
        for source, said in seen.items():
            # Taken out and put in again, since the oldest are forgotten first.
            gained = said.since(last.pop(source, None))
            sum_ = totals.pop(said.total, (0.0,) * len(gained))
            totals[said.total] = tuple(then + more for then, more in zip(sum_, gained, strict=True))
            last[source] = said.vector
        return replace(self, last=_newest(last), totals=_newest(totals))


@frozen
class Figures:
    """A service's own figures after the last look."""

    now: Mapping[Key, Value] = field(default_factory=dict)
    proven: Mapping[Proof, float] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    dropped: int = 0
    """Series beyond the limit, over all looks."""

    def plus(self, vocabulary: Vocabulary, samples: Iterable[Sample], *, spreads: bool) -> Self:
        """These figures after one more look; what the service does not tell now is not told."""
        series = _series(samples)
        seen = _seen(vocabulary, series, (*COUNTS, *SPREADS) if spreads else COUNTS)
        proofs = _proofs(vocabulary, series)
        account = self.account.plus({**seen, **proofs})
        counted = _counted({said.total: account.totals[said.total] for said in seen.values()})
        sums = {said.total: account.totals[said.total][0] for said in proofs.values()}
        proven = {proof: sums[_whole(proof)] for proof in Proof if _whole(proof) in sums}
        told = _named({**_levels(vocabulary, series), **counted})
        # Those told before stay, so that the limit does not make series come and go.
        order = [*(key for key in self.now if key in told), *(key for key in told if key not in self.now)]
        now = {key: told[key] for key in order[:SERIES_LIMIT]}
        dropped = self.dropped + len(told) - len(now)
        return replace(self, now=now, proven=proven, account=account, dropped=dropped)

    def unheard(self) -> Self:
        """These figures after a look at which nothing was told; what was counted goes on from here."""
        return replace(self, now={}, proven={})


def _newest(mapping: dict[K, V]) -> Mapping[K, V]:
    return dict(islice(mapping.items(), max(len(mapping) - KEPT, 0), None))


def _series(samples: Iterable[Sample]) -> Series:
    series: dict[str, dict[Pairs, float]] = defaultdict(dict)
    for sample in samples:
        if 0 <= sample.value <= LARGEST:
            series[sample.name][tuple(sorted(sample.labels.items()))] = float(sample.value)
    return series


def _levels(vocabulary: Vocabulary, series: Series) -> Mapping[Key, Value]:
    levels: dict[Key, list[float]] = defaultdict(list)
    for figure in LEVELS:
        for item in _chosen(figure, vocabulary.names.get(figure, ()), series):
            levels[figure, _owner(figure, item, vocabulary)].append(item.vector[0])
    return {
        key: fmean(values) if key[0] is Figure.KV_CACHE_USAGE_RATIO else sum(values) for key, values in levels.items()
    }


def _seen(vocabulary: Vocabulary, series: Series, figures: Sequence[Figure]) -> Mapping[Source, Seen]:
    return {
        _source(figure, item, series): Seen(
            (figure, _owner(figure, item, vocabulary), item.edges), item.vector, Moves.UP
        )
        for figure in figures
        for item in _chosen(figure, vocabulary.names.get(figure, ()), series)
    }


def _proofs(vocabulary: Vocabulary, series: Series) -> Mapping[Source, Seen]:
    return {
        _source(proof, item, series): Seen(_whole(proof), item.vector, item.term.moves)
        for proof, sums in vocabulary.proofs.items()
        for item in _chosen(proof, sums, series)
    }


def _whole(proof: Proof) -> Total:
    return proof, Owner(), ()


def _source(figure: Figure | Proof, item: Item, series: Series) -> Source:
    return figure, series.get(START, {}).get(()), item.term.name, item.one


def _counted(totals: Mapping[Total, Vector]) -> Mapping[Key, Value]:
    by_key: dict[Key, list[Value]] = defaultdict(list)
    for (figure, owner, edges), vector in totals.items():
        if isinstance(figure, Figure):
            by_key[figure, owner].append(_spread(edges, vector) if edges else vector[0])
    # Histograms over different edges have no sum.
    return {key: values[0] for key, values in by_key.items() if len(values) == 1}


def _spread(edges: Vector, vector: Vector) -> Distribution:
    *below, sum_ = vector
    # A page may be written while requests end, so that a rung is a step ahead of the next.
    rising = accumulate(map(int, below), max)
    return Distribution(edges, tuple(now - then for then, now in pairwise([0, *rising])), sum_)


def _named(told: Mapping[Key, Value]) -> Mapping[Key, Value]:
    # A model's name says something only where there are several.
    models: dict[Figure, set[str]] = defaultdict(set)
    for figure, owner in told:
        models[figure].add(owner.model)
    if any(len(names) > 1 for names in models.values()):
        return told
    return {(figure, replace(owner, model="")): value for (figure, owner), value in told.items()}


def _chosen(figure: Figure | Proof, sums: Sequence[Sum], series: Series) -> Iterable[Item]:
    for sum_ in sums:
        found = [_found(figure, term, series) for term in sum_]
        if all(found):
            return chain(*found)
    return ()


def _found(figure: Figure | Proof, term: Term, series: Series) -> Iterable[Item]:
    first: dict[Pairs, Item] = {}
    for item in sorted(_items(figure, term, series), key=lambda item: item.rank):
        first.setdefault(item.one, item if item.matches(term.counts_if) else replace(item, vector=(0.0,)))
    return first.values()


def _items(figure: Figure | Proof, term: Term, series: Series) -> Iterator[Item]:
    for item in _histograms(term, series) if figure in SPREADS else _scalars(term, series):
        part = any(item.labels.get(name) for name in PARTS)
        odd = figure is Figure.KV_CACHE_USAGE_RATIO and item.vector[0] > 1
        if item.matches(term.only) and term.counts_if.keys() <= item.labels.keys() and not part and not odd:
            yield item


def _scalars(term: Term, series: Series) -> Iterator[Item]:
    for pairs, value in series.get(term.name, {}).items():
        yield Item(term=term, labels=dict(pairs), vector=(value / term.per,))


def _histograms(term: Term, series: Series) -> Iterator[Item]:
    rungs: dict[Pairs, dict[float, float]] = defaultdict(dict)
    for pairs, value in series.get(f"{term.name}_bucket", {}).items():
        edge = _edge(dict(pairs).get("le", ""))
        if edge is not None:
            rungs[tuple(pair for pair in pairs if pair[0] != "le")][edge] = value
    for pairs, below in rungs.items():
        sum_ = series.get(f"{term.name}_sum", {}).get(pairs)
        edges = sorted(below)
        if sum_ is not None and inf in below and 1 < len(edges) <= EDGES_LIMIT:
            yield Item(
                term=term,
                labels=dict(pairs),
                vector=(*(below[edge] for edge in edges), sum_ / term.per),
                edges=tuple(edge / term.per for edge in edges[:-1]),
            )


def _edge(text: str) -> float | None:
    try:
        edge = float(text)
    except ValueError:
        return None
    return edge if edge == inf or isfinite(edge) else None


def _owner(figure: Figure, item: Item, vocabulary: Vocabulary) -> Owner:
    model = _label(item.labels, vocabulary.model)
    if figure not in BY_ROUTE:
        return Owner(model=model)
    status = item.term.status or _class(_label(item.labels, vocabulary.status))
    return Owner(
        model=model,
        handler=_label(item.labels, vocabulary.handler),
        method=_label(item.labels, vocabulary.method),
        status=status if vocabulary.status else "",
    )


def _label(labels: Mapping[str, str], names: Sequence[str]) -> str:
    return next((labels[name][:LONGEST_LABEL] for name in names if labels.get(name)), "")


def _class(status: str) -> str:
    return f"{status[0]}xx" if re.fullmatch(r"[1-5](\d\d|xx)", status) else ""
