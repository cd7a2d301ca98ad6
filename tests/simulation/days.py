"""Lives of services that are well, or as well as they ever are: whatever happens here must wake nobody."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from exporter.verdict.standing import Rules
from exporter.wire import Failure
from tests.lives import LASTS, Clocks, Life, Moment, Record, lived
from tests.simulation.line import DAY, Demand, Line, line

Change = Callable[[Moment], Moment]
"""What becomes of a moment."""

RULES = Rules()
SELDOM = Clocks(health=60.0, process=300.0)
"""Where nothing hangs on a service's health and processes."""
INTERVAL = Clocks().prompt * (1 + Clocks().jitter)
PATIENCE = LASTS[Failure.TIMEOUT_FIRST_TOKEN]
TOKENS = 20.0
"""Tokens per second of each slot that writes."""
CORES = 0.9
"""Cores that each slot at work takes."""
MANY = 12
"""Requests that wait, beyond which no connection is accepted."""
OWN = 1.0
"""Seconds that our own prompt takes once it has a slot; it is too short to make others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A while in which a service is otherwise than usual."""

    begins: float
    ends: float
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A life, the line or the lines that it follows from, and by which clocks it is looked at."""

    life: Life
    lines: Sequence[Line]
    clocks: Clocks

    def lived(self, seed: int) -> Record:
        """What is said of it."""
        return lived(remembered(self.life), DAY, RULES, self.clocks, seed=seed)

    def starves(self) -> float:
        """For how long a line of it let nobody in who waits as long as a prompt does."""
        return max(each.starves(PATIENCE - OWN, DAY) for each in self.lines)

    def waits(self) -> float:
        """The longest that anybody waited."""
        return max(each.longest for each in self.lines)


class Working:
    """A service of one worker or several, each with a line of its own; by the dice of that second one gets a prompt.

    What it generates is what it did since it was last asked, so that no short answer is lost between two looks.
    """

    def __init__(self, lines: Sequence[Line], dice: Sequence[float] = (0.0,)) -> None:
        self._lines = lines
        self._dice = dice
        self._asked = 0.0
        self._done = (0.0, 0.0)

    def __call__(self, now: float) -> Moment:
        """How it is now; it must not be asked for what is past, nor twice for one moment."""
        counts = [each.count(now) for each in self._lines]
        done = (sum(each.written for each in counts), sum(each.read for each in counts))
        passed = now - self._asked or 1.0
        written, read = ((after - before) / passed for after, before in zip(done, self._done, strict=True))
        self._asked, self._done = now, done
        wait = self._lines[int(self._dice[int(now) % len(self._dice)] * len(self._lines))].wait(now)
        return Moment(
            fails=Failure.TIMEOUT_FIRST_TOKEN if wait + OWN > PATIENCE else None,
            takes=wait + OWN,
            generates=TOKENS * written,
            prefills=10 * TOKENS * read,
            running=sum(each.reading + each.writing for each in counts),
            waiting=sum(each.waiting for each in counts),
        )


def remembered(life: Life) -> Life:
    """The same life, asked once for each moment."""
    asked, told = -1.0, Moment()

    def moment(now: float) -> Moment:
        nonlocal asked, told
        if now != asked:
            asked, told = now, life(now)
        return told

    return moment


def with_episodes(life: Life, episodes: Sequence[Episode]) -> Life:
    """A life in which these come about."""

    def moment(now: float) -> Moment:
        told = life(now)
        for episode in episodes:
            if episode.begins <= now < episode.ends:
                told = episode.change(told)
        return told

    return moment


def with_failures(life: Life, dice: Sequence[float], share: float) -> Life:
    """A life in which so many prompts are answered with an error."""

    def moment(now: float) -> Moment:
        told = life(now)
        return replace(told, fails=Failure.STATUS_5XX, takes=0.05) if dice[int(now) % len(dice)] < share else told

    return moment


def silent_on_tokens(told: Moment) -> Moment:
    """The same, of a service that tells no figures of its own."""
    return replace(told, generates=None, prefills=None, running=0.0, waiting=0.0)


def throws(until: float, chance: random.Random) -> Sequence[float]:
    """Chance for each second."""
    return [chance.random() for _ in range(int(until))]


def busy(chance: random.Random) -> Day:
    """Waits of more than 90 s many times a day, and tokens are counted meanwhile."""
    lines = [line(Demand(load=0.85), DAY, chance)]
    return Day(life=Working(lines), lines=lines, clocks=SELDOM)


def busy_unheard(chance: random.Random) -> Day:
    """The same waits with nothing to show for them, in bursts that end before they must be taken for a hang.

    Once too many wait, not even connections are accepted.
    """
    lines = [line(Demand(load=0.6, bursts=24, lasts=150.0), DAY, chance)]
    life = Working(lines)

    def moment(now: float) -> Moment:
        told = life(now)
        return silent_on_tokens(unaccepted(told) if told.waiting > MANY else told)

    return Day(life=moment, lines=lines, clocks=Clocks(health=30.0, process=300.0))


def long_prompts(chance: random.Random) -> Day:
    """One slot, which about twice an hour reads one prompt for 3 minutes and writes nothing meanwhile."""
    lines = [line(Demand(slots=1, load=0.5, writing=8.0, long=0.012, surge=3.0), DAY, chance)]
    return Day(life=Working(lines), lines=lines, clocks=SELDOM)


def one_bad_worker(chance: random.Random) -> Day:
    """Four workers, of which one answers everything with an error from the first prompt on."""
    lines = [line(Demand(slots=1, load=0.4, writing=8.0, bursts=4), DAY, chance) for _ in range(4)]
    dice = throws(DAY, chance)
    return Day(life=with_failures(Working(lines, dice), dice, 0.25), lines=lines, clocks=SELDOM)


def now_and_then_an_error(chance: random.Random) -> Day:
    """One prompt of twenty is answered with an error, and the network is cut for less than a minute several times."""
    lines = [line(Demand(load=0.6, bursts=4), DAY, chance)]
    dice = throws(DAY, chance)
    life = with_failures(Working(lines), dice, 0.05)
    cuts = [
        Episode(begins=begins, ends=begins + chance.uniform(1, 50), change=chance.choice(CUTS))
        for begins in spread(8, chance)
    ]
    return Day(life=with_episodes(life, cuts), lines=lines, clocks=Clocks(health=30.0, process=300.0))


def restarts(chance: random.Random) -> Day:
    """Six restarts, each after 2 to 15 minutes of loading, of a service whose process is seen on every other day."""
    lines = [line(Demand(load=0.6, bursts=4), DAY, chance)]
    life, seen = Working(lines), chance.random() < 0.5
    begun = sorted(spread(6, chance))
    loadings = [episode for at in begun for episode in _restart(at, chance, seen=seen)]

    def moment(now: float) -> Moment:
        started = max((at for at in begun if at <= now), default=-DAY)
        return replace(life(now), up=True if seen else None, started=started, cores=CORES)

    return Day(life=with_episodes(moment, loadings), lines=lines, clocks=Clocks(health=60.0))


def _restart(at: float, chance: random.Random, *, seen: bool) -> Sequence[Episode]:
    """Nobody listens for a while, and then it says that it loads; or nobody listens all the while."""
    loads = chance.uniform(120, 900)
    # By the rules a service whose process is not seen has 5 minutes in which nobody need listen.
    deaf = chance.choice((5.0, loads if seen else min(loads, 240.0)))
    stopped = Episode(begins=at - 5, ends=at, change=stops if seen else refuses)
    return (
        stopped,
        Episode(begins=at, ends=at + deaf, change=refuses),
        Episode(begins=at, ends=at + loads, change=loading),
    )


def spread(number: int, chance: random.Random) -> Sequence[float]:
    """Moments of a day, one in each part of it."""
    return [(each + chance.uniform(0.1, 0.7)) * DAY / number for each in range(number)]


def mute(told: Moment, fails: Failure, health: Failure) -> Moment:
    """The same, of a service that is not reached."""
    gone = silent_on_tokens(told)
    return replace(gone, fails=fails, takes=0.01, health=health, cores=0.0)


def refuses(told: Moment) -> Moment:
    """Nobody listens."""
    return mute(told, Failure.REFUSED, Failure.REFUSED)


def stops(told: Moment) -> Moment:
    """Its process is gone, as is seen."""
    return replace(refuses(told), up=False)


def unreached(told: Moment) -> Moment:
    """There is no way to it."""
    return mute(told, Failure.UNREACHABLE, Failure.UNREACHABLE)


def cut(told: Moment) -> Moment:
    """What is sent to it is lost."""
    return mute(told, Failure.TIMEOUT_CONNECT, Failure.TIMEOUT_CONNECT)


def reset(told: Moment) -> Moment:
    """Connections to it are cut while it answers."""
    return mute(told, Failure.DISCONNECTED, Failure.DISCONNECTED)


def unaccepted(told: Moment) -> Moment:
    """Nobody accepts a connection for a prompt, while a health check is lucky."""
    return replace(told, fails=Failure.TIMEOUT_CONNECT)


def loading(told: Moment) -> Moment:
    """It says that it loads, where anybody listens."""
    return told if told.fails is Failure.REFUSED else mute(told, Failure.LOADING, Failure.LOADING)


CUTS: Sequence[Change] = (unreached, cut, reset)


def slower_by_the_hour(chance: random.Random) -> Day:
    """Everything takes longer from hour to hour, by a quarter of what it took at first."""
    lines = [line(Demand(load=0.6, slower=0.25, bursts=0), DAY, chance)]
    return Day(life=Working(lines), lines=lines, clocks=SELDOM)


DAYS: Sequence[Callable[[random.Random], Day]] = (
    busy,
    busy_unheard,
    long_prompts,
    one_bad_worker,
    now_and_then_an_error,
    restarts,
    slower_by_the_hour,
)
