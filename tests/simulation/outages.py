"""Ways in which a service breaks, what must be said of each, and how soon."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from exporter.verdict.standing import State
from exporter.wire import Failure
from tests.lives import LASTS, Clocks, Life, Moment, Record, lived
from tests.simulation.days import (
    CORES,
    INTERVAL,
    PATIENCE,
    RULES,
    Change,
    Episode,
    Working,
    loading,
    refuses,
    remembered,
    silent_on_tokens,
    stops,
    unreached,
    with_episodes,
)
from tests.simulation.line import Demand, line

CLOCKS = Clocks()
SOON = RULES.misses * INTERVAL + PATIENCE
"""Three intervals, the deadline of the first token and the jitter."""
BLIND = RULES.blind_after + INTERVAL
AT_ONCE = RULES.misses * INTERVAL + 1.0
UNSEEN = RULES.restart_allowance + RULES.misses * INTERVAL
MOST = 10 * INTERVAL + PATIENCE
"""The same for a service of which many prompts failed before."""
WARM = 1200.0
"""Seconds for which a service is well before it breaks, at the least."""

CALM = Demand(load=0.4, bursts=0)
BUSY = Demand(load=0.9, bursts=96, lasts=300.0)
DESERTED = Demand(load=0.0001, bursts=0)


def unchanged(told: Moment) -> Moment:
    """A service that tells how many tokens it generates."""
    return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A way to break."""

    name: str
    state: State
    within: float
    """Seconds from its begin until it must be told."""
    becomes: Change
    usual: Change = unchanged
    """How the service is otherwise, and what it tells of itself."""
    demand: Demand = CALM

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """What was said of a service that broke."""

    record: Record
    begins: float
    ends: float

    def after(self, state: State) -> float | None:
        """Seconds from the begin until the state was told; None where it was not, or was before."""
        first = self.record.first(state)
        return None if first is None or first < self.begins else first - self.begins

    @property
    def mended(self) -> float | None:
        """Seconds from the end until it was said to be well again."""
        well = self.record.first(State.OK, after=self.ends)
        return None if well is None else well - self.ends


def broken(outage: Outage, seed: int) -> Broken:
    """A life in which a service breaks for as long as it may take to be told, and is well again for a while."""
    chance = random.Random(seed)
    begins = WARM + chance.uniform(0, 60)
    ends = begins + outage.within + 1
    until = ends + 10 * INTERVAL
    usual = Working([line(outage.demand, until, chance)])
    life: Life = with_episodes(
        lambda now: outage.usual(usual(now)), [Episode(begins=begins, ends=ends, change=outage.becomes)]
    )
    return Broken(record=lived(remembered(life), until, RULES, CLOCKS, seed=seed), begins=begins, ends=ends)


def hangs(told: Moment) -> Moment:
    """It takes prompts, and nothing moves any more."""
    return replace(
        told,
        fails=Failure.TIMEOUT_FIRST_TOKEN,
        generates=told.generates and 0.0,
        prefills=told.prefills and 0.0,
        ends=told.ends and 0.0,
        serves=told.serves and 0.0,
        cores=0.0,
    )


def hangs_idly(told: Moment) -> Moment:
    """It hangs with requests of others inside; its GPU draws nothing, and says to be busy."""
    return replace(hangs(told), running=4.0, watts=90.0, busy=1.0)


def hangs_spinning(told: Moment) -> Moment:
    """It hangs, and computes all the while."""
    return replace(hangs(told), cores=CORES, watts=None if told.watts is None else 600.0)


def hangs_reading(told: Moment) -> Moment:
    """It reads prompts and never answers one."""
    return replace(hangs(told), prefills=200.0, running=4.0)


def stalls(told: Moment) -> Moment:
    """Its answers begin and do not go on."""
    return replace(hangs(told), fails=Failure.TIMEOUT_STALL, quiet=LASTS[Failure.TIMEOUT_STALL])


def falls_silent(told: Moment) -> Moment:
    """It hangs so that even its figures are not told."""
    return replace(hangs(told), silent=True, health=Failure.TIMEOUT_TOTAL)


def vanishes(told: Moment) -> Moment:
    """Its machine is gone, and what is sent to it is lost."""
    lost = Failure.TIMEOUT_CONNECT
    return replace(silent_on_tokens(told), fails=lost, health=lost)


def fails_with(failure: Failure) -> Change:
    """Every prompt fails so."""
    return lambda told: replace(told, fails=failure, takes=0.5)


def drawing(told: Moment) -> Moment:
    """The same on a GPU, which draws by what it does."""
    return replace(told, watts=400.0 if told.running else 100.0, busy=1.0 if told.running else 0.0)


def counting_requests(told: Moment) -> Moment:
    """The same, of a service that tells only how many requests it ended."""
    return replace(silent_on_tokens(told), serves=0.05 * (told.generates or 0.0))


def counting_late(told: Moment) -> Moment:
    """The same, of a service that counts an answer's tokens once it ended."""
    return replace(silent_on_tokens(told), ends=told.generates)


def seen_only(told: Moment) -> Moment:
    """The same, of a service that tells nothing, but whose process is seen."""
    return replace(silent_on_tokens(told), up=True, cores=CORES)


def _hang(name: str, within: float, becomes: Change, usual: Change = unchanged, demand: Demand = CALM) -> Outage:
    return Outage(name=f"hang, {name}", state=State.HUNG, within=within, becomes=becomes, usual=usual, demand=demand)


def _end(name: str, state: State, within: float, becomes: Change, usual: Change = unchanged) -> Outage:
    return Outage(name=name, state=state, within=within, becomes=becomes, usual=usual)


OUTAGES: Sequence[Outage] = (
    _hang("tokens counted", SOON, hangs),
    _hang("tokens counted, nobody else asks", SOON, hangs, demand=DESERTED),
    _hang("tokens counted, power idle", 2 * INTERVAL + PATIENCE, hangs_idly, drawing),
    _hang("tokens counted, power high", SOON, hangs_spinning, drawing),
    _hang("tokens counted, prompts still read", RULES.prefill_grace + SOON, hangs_reading),
    _hang("tokens counted, service busy before", MOST, hangs, demand=BUSY),
    _hang("requests counted", BLIND, hangs, counting_requests),
    _hang("amid an answer", SOON, stalls),
    _hang("figures silent too", SOON, falls_silent),
    _hang("ended answers counted", BLIND, hangs, counting_late),
    _hang("no witness, process computing", BLIND, hangs_spinning, seen_only),
    _hang("no witness", BLIND, hangs, silent_on_tokens),
    _end("killed, process seen", State.DEAD, 2 * INTERVAL + CLOCKS.process, stops, seen_only),
    _end("killed, process unseen", State.DEAD, UNSEEN, refuses),
    _end("no route", State.DEAD, UNSEEN, unreached),
    _end("machine gone", State.DEAD, 5 * INTERVAL + LASTS[Failure.TIMEOUT_CONNECT], vanishes),
    _end("errors", State.FAILING, AT_ONCE, fails_with(Failure.STATUS_5XX)),
    _end("loading for ever", State.FAILING, RULES.startup_allowance + RULES.misses * INTERVAL, loading),
    _end("repetition", State.GARBAGE, AT_ONCE, fails_with(Failure.REPETITIVE)),
    _end("empty answers", State.GARBAGE, AT_ONCE, fails_with(Failure.EMPTY)),
    _end("key no longer taken", State.MISCONFIGURED, AT_ONCE, fails_with(Failure.UNAUTHORIZED)),
)
