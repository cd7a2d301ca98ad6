"""The product in one test: a model server freezes behind a proxy that says it is well, and a person gets a mail.

Everything is real: exporter, Prometheus with the shipped rules, Alertmanager with the shipped configuration, a mail
server that wants TLS and a password. Only addresses are changed, and what the pace says.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import Daemon, Page, started
from tests.deploy import alertmanager, mail, scraping, shipped
from tests.deploy.alertmanager import AS_SHIPPED
from tests.deploy.mail import Mail, Mailbox
from tests.deploy.scraping import Prometheus
from tests.e2e import models
from tests.e2e.models import Model
from tests.e2e.programs import MISSING, Programs, found
from tests.services.green import proxy
from tests.services.scripted import Stage, reply

NAME = "chat"
BY_CHOICE = "as it is shipped it takes ten minutes: set E2E_DEFAULTS=1"
SETTLED = 180.0  # Seconds; a guard until all that is started works.


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How fast all goes, how soon the mail is to come, and how long its end is waited for."""

    settings: Mapping[str, object]
    pace: alertmanager.Pace
    kept: str
    goal: float
    patience: float


QUICK = Course(
    settings={"prompt": {"every": "10s", "first_token_timeout": "5s"}},
    pace=AS_SHIPPED._replace(interval="10s"),
    kept="10s",
    goal=120.0,
    patience=180.0,
)
AS_DELIVERED = Course(settings={}, pace=AS_SHIPPED, kept=shipped.KEPT, goal=300.0, patience=900.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A model, and everything between it and a person."""

    model: Model
    exporter: Daemon
    prometheus: Prometheus
    mailbox: Mailbox

    def well(self, page: Page) -> bool:
        """Whether the model answers, and is heard to generate: only what was heard can be seen to stand still."""
        state = page.by("state", "model_state", target=NAME).keys()
        return state == {"ok"} and "no_witness" not in page.by("evidence", "model_state_evidence", target=NAME)

    def connected(self) -> bool:
        """Whether Prometheus scrapes the exporter, and knows whom to tell."""
        standing = self.prometheus.told(f'model_state{{target="{NAME}", state="ok"}}')
        return [value for _, value in standing] == [1] and bool(self.prometheus.tells())

    def mailed(self, status: str, patience: float) -> Mail | None:
        """The mail that the model is green but hung, or is so no more."""
        return self.mailbox.until(
            lambda mail: mail.subject.startswith(f"[{status} ") and _about(mail) == {"ModelGreenButHung"}, patience
        )


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    if (programs := found(tmp_path_factory.mktemp("programs"))) is None:
        pytest.skip(MISSING)
    return programs


@contextmanager
def watched(programs: Programs, folder: Path, course: Course, *, hook: str) -> Iterator[Watch]:
    """A model that is well, and watched by everything."""
    with ExitStack() as stack:
        model = stack.enter_context(models.answering(folder))
        target = {"name": NAME, "url": stack.enter_context(proxy(model.port))}
        exporter = stack.enter_context(started(folder, {"targets": [target], **course.settings}))
        mailbox = stack.enter_context(mail.serving(folder))
        telling = alertmanager.addressed(folder, mailbox, hook=hook, pace=course.pace)
        teller = stack.enter_context(alertmanager.running(folder, telling, mailbox, command=programs.alertmanager))
        asking = shipped.addressed(
            folder, exporter=_host(exporter.url), alertmanager=_host(teller.url), kept=course.kept
        )
        asker = stack.enter_context(scraping.running(programs.prometheus, folder, asking))
        watch = Watch(model=model, exporter=exporter, prometheus=asker, mailbox=mailbox)
        _until(lambda: watch.well(exporter.scrape()) and watch.connected())
        yield watch


@pytest.mark.parametrize(
    "course",
    [
        pytest.param(QUICK, id="with a prompt every 10 s"),
        pytest.param(
            AS_DELIVERED,
            id="as it is shipped",
            marks=pytest.mark.skipif("E2E_DEFAULTS" not in os.environ, reason=BY_CHOICE),
        ),
    ],
)
def test_a_server_that_freezes_is_mailed_of_as_green_but_hung_and_again_when_it_goes_on(
    programs: Programs, tmp_path: Path, stage: Stage, course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    switch = stage.serve({"POST /model-sidecar": reply("")})
    with watched(programs, tmp_path, course, hook=f"{switch.url}/model-sidecar") as watch:
        frozen = time.monotonic()
        watch.model.freeze()
        firing = watch.mailed("FIRING", 2 * course.goal)
        page = watch.exporter.scrape()
        thawed = time.monotonic()
        watch.model.thaw()
        resolved = watch.mailed("RESOLVED", course.patience)

    assert firing is not None, page.about(NAME)
    assert resolved is not None
    with capsys.disabled():
        print(  # noqa: T201  what this test is for
            f"\n{watch.model.name}: mailed {firing.at - frozen:.0f} s after it froze (goal: {course.goal:g} s), "
            f"and {resolved.at - thawed:.0f} s after it went on"
        )
    assert firing.at - frozen <= course.goal
    assert page.value("model_health_up", target=NAME) == 1
    assert set().union(*(_about(mail) for mail in watch.mailbox.mails)) == {"ModelGreenButHung"}
    assert switch.asked("POST")


def _about(mail: Mail) -> set[str]:
    """The names of the alerts that a mail tells of."""
    return set(re.findall(r"\balertname=(\w+)", mail.text))


def _host(url: str) -> str:
    return url.removeprefix("http://")


def _until(settled: Callable[[], bool]) -> None:
    end = time.monotonic() + SETTLED
    while not settled():
        assert time.monotonic() < end, "not all of it works yet"
        time.sleep(1)
