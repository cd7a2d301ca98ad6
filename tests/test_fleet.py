"""Services that come and go: what is begun, what ends, and what is left of it."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from threading import Thread
from threading import enumerate as threads

import pytest

from exporter.assessor import Assessor, Surroundings
from exporter.fleet import Fleet, Life
from exporter.lookup import Neighbours
from exporter.services import watches_of
from exporter.settings import Settings, Target, load
from exporter.site import Site, objectives_of, rules_of
from exporter.verdict.standing import State
from tests.daemon import PATIENCE
from tests.services.openai import CHAT, GOOD, models
from tests.services.scripted import FOREVER, Service, Stage, reply, script

QUICK = {"every": "50ms"}


def targets(*services: Service, **more: object) -> Sequence[Target]:
    """Services that are asked in quick succession, by their numbers."""
    given = [{"name": str(number), "url": service.url} for number, service in enumerate(services)]
    prompt = {"protocol": "openai-chat", **QUICK}
    return load(
        {"targets": given, "prompt": prompt, "health": QUICK, "server": QUICK, **more}, file=None, environ={}
    ).targets


def fleet() -> Fleet:
    """A fleet of services that are watched as the program does."""
    neighbours, settings = Neighbours(), Settings()

    def begin(target: Target, share: float) -> Life:
        site = Site(target, neighbours, share=share)
        own = tuple(watches_of(site, lambda: settings))
        judging = Assessor(own, rules_of(site), target=target.name, around=Surroundings())
        return Life(site=site, watches=own, assessor=judging, wanted=objectives_of(site))

    return Fleet(begin)


def good(stage: Stage) -> Service:
    return stage.serve({"GET /health": reply("ok"), "GET /v1/models": models("tiny"), f"POST {CHAT}": GOOD})


async def asked(*services: Service) -> None:
    """Wait until each was asked for an answer once more."""
    before = [len(service.asked("POST")) for service in services]
    while any(len(service.asked("POST")) <= one for service, one in zip(services, before, strict=True)):  # noqa: ASYNC110  another thread's
        await asyncio.sleep(0.02)


def test_who_stays_as_it_was_goes_on_and_who_does_not_begins_anew(stage: Stage) -> None:
    one, two, three = good(stage), good(stage), good(stage)

    async def life() -> tuple[list[Life], list[Life]]:
        here = fleet()
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            await here.change(targets(one, two))
            await asked(one, two)
            before = list(here.lives.values())
            await here.change(targets(one, three))
            await asked(one, three)
            after = list(here.lives.values())
            await here.change(())
        return before, after

    before, after = asyncio.run(life())

    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert after[1].site.target.url == three.url


def begun_since(before: set[Thread]) -> set[str]:
    """What the threads of services are called that have begun since; those of earlier tests may hang for good."""
    return {"names", "key"} & {each.name for each in set(threads()) - before}


def test_who_is_gone_leaves_no_task_no_thread_and_no_open_client(stage: Stage) -> None:
    hanging = stage.serve({"GET /health": script(FOREVER), f"POST {CHAT}": script(FOREVER)})
    well = good(stage)

    async def life() -> tuple[list[Life], int]:
        here = fleet()
        gone: list[Life] = []
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            for _ in range(10):
                await here.change(targets(hanging, well))
                await asked(hanging, well)
                gone += here.lives.values()
                await here.change(())
        end = time.monotonic() + PATIENCE
        # What a thread is at just then ends by itself, and tells nobody.
        while len(asyncio.all_tasks()) > 1 and time.monotonic() < end:  # noqa: ASYNC110  the same
            await asyncio.sleep(0.02)
        return gone, len(asyncio.all_tasks())

    before = set(threads())
    gone, tasks = asyncio.run(life())
    end = time.monotonic() + PATIENCE
    while (left := begun_since(before)) and time.monotonic() < end:
        time.sleep(0.1)

    assert len(gone) == 20
    assert all(each.site.client.is_closed for each in gone)
    assert tasks == 1
    assert not left


def test_what_was_left_out_of_those_that_are_gone_stays_counted(stage: Stage) -> None:
    many = "".join(f'http_requests_total{{handler="/{number}"}} 1\n' for number in range(500))
    service = stage.serve(
        {
            "GET /health": reply("ok"),
            "GET /openapi.json": reply('{"openapi": "3.1.0", "info": {"title": "x"}, "paths": {}}'),
            "GET /metrics": reply(f"# TYPE http_requests_total counter\n{many}"),
        }
    )
    more = {"prompt": {"enabled": False}, "server": {"enabled": True, **QUICK}}

    async def life() -> tuple[int, int]:
        here = fleet()
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            await here.change(targets(service, **more))
            while not here.dropped:  # noqa: ASYNC110  a figure, which tells nobody
                await asyncio.sleep(0.02)
            before = here.dropped
            await here.change(())
        return before, here.dropped

    before, after = asyncio.run(life())

    assert 0 < before <= after


def many(number: int) -> Sequence[Target]:
    """So many services that nobody serves."""
    given = [{"name": str(each), "url": f"http://127.0.0.1:{each + 1}"} for each in range(number)]
    return load({"targets": given}, file=None, environ={}).targets


def test_a_thousand_services_come_and_go_at_once() -> None:
    here, thousand = fleet(), many(1000)

    async def life() -> list[int]:
        counts = []
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            for some in (thousand, thousand[::2], ()):
                await here.change(some)
                counts.append(len(list(chain.from_iterable(life.watches for life in here.lives.values()))))
        return counts

    assert asyncio.run(life()) == [4000, 2000, 0]


def test_while_services_are_taken_up_whatever_else_is_due_has_its_turn() -> None:
    here, some, turns = fleet(), many(300), 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def life() -> int:
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            other = group.create_task(others())
            await here.change(some)
            between = turns
            other.cancel()
            await here.change(())
        return between

    assert asyncio.run(life()) > 30


@pytest.fixture
def garbage() -> Iterator[None]:
    """Searched for as ever, once the test is over."""
    gc.collect()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("garbage")
def test_what_is_watched_is_left_out_when_garbage_is_searched_for() -> None:
    here = fleet()

    async def life() -> int:
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            await here.change(many(50))
            searched = {id(each) for each in gc.get_objects()}
            among = sum(id(each) in searched for each in here.lives.values())
            await here.change(())
        return among

    assert asyncio.run(life()) == 0


@pytest.mark.usefixtures("garbage")
def test_who_is_gone_is_found_once_others_come_or_go() -> None:
    here = fleet()

    async def life() -> Site | None:
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            await here.change(many(2))
            gone = weakref.ref(here.lives["1"].site)
            await here.change(many(1))
            await asyncio.sleep(0.1)
            await here.change(())
        return gone()

    assert asyncio.run(life()) is None


def standing(here: Fleet, **states: State) -> None:
    """Services by these names, each of which stands so."""
    given = [{"name": name, "url": f"http://127.0.0.1:{number + 1}"} for number, name in enumerate(states)]
    asyncio.run(here.change(load({"targets": given}, file=None, environ={}).targets))
    for life, state in zip(here.lives.values(), states.values(), strict=True):
        life.assessor.standing = replace(life.assessor.standing, state=state)


@pytest.mark.parametrize(
    ("states", "line"),
    [
        ({}, "no service is watched"),
        ({"chat": State.OK}, "watches 1 service: 1 ok (chat)"),
        ({"chat": State.OK, "b": State.HUNG, "c": State.OK}, "watches 3 services: 1 hung (b), 2 ok"),
        (dict.fromkeys("abcd", State.DEAD), "watches 4 services: 4 dead (a, b, c, …)"),
        (
            {"a": State.LOADING, "b": State.DEAD, "c": State.OK},
            "watches 3 services: 1 dead (b), 1 loading (a), 1 ok (c)",
        ),
    ],
)
def test_how_all_services_stand_is_said_in_one_line_what_is_wrong_first(states: Mapping[str, State], line: str) -> None:
    here = fleet()
    standing(here, **states)

    assert here.in_short() == line
