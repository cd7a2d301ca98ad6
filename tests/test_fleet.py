"""Services that come and go: what is begun, what ends, and what is left of it."""

import asyncio
import time
from collections.abc import Sequence
from itertools import chain
from threading import Thread
from threading import enumerate as threads

from exporter.app import watches_of
from exporter.assessor import Assessor, Surroundings
from exporter.fleet import Fleet, Life
from exporter.lookup import Neighbours
from exporter.settings import Settings, Target, load
from exporter.site import Site, objectives_of, rules_of
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
            here.change(targets(one, two))
            await asked(one, two)
            before = list(here.lives.values())
            here.change(targets(one, three))
            await asked(one, three)
            after = list(here.lives.values())
            here.change(())
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
                here.change(targets(hanging, well))
                await asked(hanging, well)
                gone += here.lives.values()
                here.change(())
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
            here.change(targets(service, **more))
            while not here.dropped:  # noqa: ASYNC110  a figure, which tells nobody
                await asyncio.sleep(0.02)
            before = here.dropped
            here.change(())
        return before, here.dropped

    before, after = asyncio.run(life())

    assert 0 < before <= after


def test_a_thousand_services_come_and_go_at_once() -> None:
    here = fleet()
    given = [{"name": str(number), "url": f"http://127.0.0.1:{number + 1}"} for number in range(1000)]
    many = load({"targets": given}, file=None, environ={}).targets

    async def life() -> list[int]:
        counts = []
        async with asyncio.TaskGroup() as group:
            here.start(group.create_task)
            for some in (many, many[::2], ()):
                here.change(some)
                counts.append(len(list(chain.from_iterable(life.watches for life in here.lives.values()))))
        return counts

    assert asyncio.run(life()) == [4000, 2000, 0]
