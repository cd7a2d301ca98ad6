"""Who is told what: the configuration that is shipped, read by Alertmanager's own tool, and at work in a real one."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy import alertmanager, mail
from tests.deploy.alertmanager import AS_SHIPPED, SHIPPED, Alertmanager
from tests.deploy.mail import Mail, Mailbox
from tests.services.scripted import Service, Stage, reply

PROGRAM, AMTOOL = alertmanager.program(), shutil.which("amtool")
if PROGRAM is None or AMTOOL is None:
    pytest.skip("there is no alertmanager with its amtool on PATH, to read its configuration", allow_module_level=True)

SOON = 20.0  # Seconds; a guard, as every figure of patience is.
PAGE = {"job": "model-sidecar", "instance": "gpu-1:10068"}
GREEN_BUT_HUNG = {"alertname": "ModelGreenButHung", "severity": "critical", "kind": "verdict", **PAGE}
SLOW = {"alertname": "ModelAnswerSlow", "severity": "warning", "kind": "service", **PAGE}
HEARTBEAT = {"alertname": "DeadMansSwitch", "severity": "info", "kind": "heartbeat"}


def route(**labels: str) -> str:
    """To whom an alert with these labels goes, as the tool says."""
    typed = [f"{name}={value}" for name, value in labels.items()]
    asked = [str(AMTOOL), "config", "routes", "test", f"--config.file={SHIPPED}", *typed]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def test_the_tool_finds_nothing_wrong_with_it() -> None:
    found = subprocess.run([str(AMTOOL), "check-config", str(SHIPPED)], capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stdout + found.stderr


def test_the_tool_would_find_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "alertmanager.yml"
    broken.write_text(SHIPPED.read_text().replace("receiver: nobody", "receiver: somebody"))

    found = subprocess.run([str(AMTOOL), "check-config", str(broken)], capture_output=True, text=True, check=False)

    assert found.returncode != 0
    assert "somebody" in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        pytest.param({"alertname": "ModelGreenButHung", "severity": "critical"}, "critical", id="who is on call"),
        pytest.param({"alertname": "ModelSaturated", "severity": "warning"}, "warning", id="the team"),
        pytest.param({"alertname": "GpuXidInfo", "severity": "info"}, "nobody", id="nobody"),
        pytest.param({"alertname": "FromElsewhere"}, "warning", id="the team, of what says nothing of itself"),
        pytest.param(HEARTBEAT, "dead-mans-switch", id="the switch"),
    ],
)
def test_an_alert_goes_to(labels: dict[str, str], receiver: str) -> None:
    assert route(**labels) == receiver


def test_the_webhook_of_the_readme_fits_into_it(tmp_path: Path) -> None:
    told = re.search(r"<!-- webhook -->\n```yaml\n(.*?)```", (SHIPPED.parent / "README.md").read_text(), re.DOTALL)
    assert told is not None
    config, (more,) = yaml.safe_load(SHIPPED.read_text()), yaml.safe_load(told[1])["receivers"]
    (receiver,) = (each for each in config["receivers"] if each["name"] == more["name"])
    receiver |= more
    both = tmp_path / "alertmanager.yml"
    both.write_text(yaml.safe_dump(config))

    found = subprocess.run([str(AMTOOL), "check-config", str(both)], capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stdout + found.stderr


def test_mails_are_grouped_and_tell_the_end() -> None:
    config = yaml.safe_load(SHIPPED.read_text())
    mails = [mail for receiver in config["receivers"] for mail in receiver.get("email_configs", ())]

    assert (config["route"]["group_wait"], config["route"]["group_interval"]) == AS_SHIPPED
    assert len(mails) == 2
    assert all(mail["send_resolved"] for mail in mails)


def test_no_secret_stands_in_it() -> None:
    told = yaml.safe_load(SHIPPED.read_text())["global"]

    assert "smtp_auth_password" not in told
    assert told["smtp_auth_password_file"] == alertmanager.PASSWORD_FILE


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    with mail.serving(tmp_path_factory.mktemp("mail")) as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def hook() -> Iterator[Service]:
    """What the dead man's switch calls."""
    with Stage() as stage:
        yield stage.serve({"POST /model-sidecar": reply("")})


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox, hook: Service) -> Iterator[Alertmanager]:
    """One Alertmanager for all; each test has a service of its own."""
    folder = tmp_path_factory.mktemp("alertmanager")
    config = alertmanager.addressed(folder, mailbox, hook=f"{hook.url}/model-sidecar")
    with alertmanager.running(folder, config, mailbox, command=str(PROGRAM)) as live:
        yield live


def about(target: str, status: str) -> Callable[[Mail], bool]:
    return lambda mail: target in mail.subject and mail.subject.startswith(f"[{status}")


def test_a_mail_comes_when_an_alert_fires_and_when_it_is_over(live: Alertmanager, mailbox: Mailbox) -> None:
    alert = {**GREEN_BUT_HUNG, "target": "told"}

    live.tell(alert)
    firing = mailbox.until(about("told", "FIRING"), SOON)
    live.tell(alert, over=True)
    resolved = mailbox.until(about("told", "RESOLVED"), SOON)

    assert firing is not None
    assert resolved is not None
    assert firing.to == resolved.to == "oncall@example.com"
    assert firing.subject == "[FIRING critical] told ModelGreenButHung gpu-1:10068"
    assert resolved.subject == "[RESOLVED critical] told ModelGreenButHung gpu-1:10068"
    assert "target=told" in firing.text
    assert "Over: " in resolved.text


def test_alerts_of_one_kind_of_one_service_come_in_one_mail(live: Alertmanager, mailbox: Mailbox) -> None:
    both = [{**SLOW, "target": "twice", "instance": instance} for instance in ("gpu-1:10068", "gpu-2:10068")]

    live.tell(*both)
    told = mailbox.until(about("twice", "FIRING"), SOON)

    assert told is not None
    assert told.to == "team@example.com"
    assert told.subject == "[FIRING warning] ModelAnswerSlow of twice, 2 alerts"
    assert all(alert["instance"] in told.text for alert in both)


def test_the_switch_is_called_while_all_is_well(live: Alertmanager, hook: Service) -> None:
    live.tell(HEARTBEAT)

    end = time.monotonic() + SOON
    while not hook.asked("POST") and time.monotonic() < end:
        time.sleep(0.2)

    assert b"DeadMansSwitch" in hook.asked("POST")[0].body


@pytest.mark.parametrize(
    ("cause", "kept", "held_back"),
    [
        pytest.param(
            "ModelGreenButHung",
            {},
            {"ModelHung": "verdict", "ModelAnswerSlow": "service", "ModelErrorBudgetBurnsFast": "service"},
            id="green but hung holds back hung, and that it is slow",
        ),
        pytest.param(
            "ModelDead",
            {"ModelRestarting": "service", "ModelCertificateExpires": "service"},
            {"ModelFirstTokenSlow": "service", "ModelSuccessLow": "service", "ModelNotProbed": "verdict"},
            id="dead holds back latency and objectives",
        ),
        pytest.param(
            "ModelSaturated",
            {"ModelSuccessLow": "service"},
            {"ModelAnswerSlow": "service", "ModelTokensSlowerThanUsual": "service"},
            id="full holds back slow",
        ),
        pytest.param(
            "ModelCertificateExpiresNow",
            {"ModelAnswerSlow": "service"},
            {"ModelCertificateExpires": "service"},
            id="now holds back soon",
        ),
        pytest.param(
            "ModelErrorBudgetBurnsFast",
            {"ModelAnswerSlow": "service"},
            {"ModelErrorBudgetBurns": "service", "ModelSuccessLow": "service", "ModelIntermittent": "service"},
            id="fast holds back slowly",
        ),
        pytest.param("HostDiskFull", {}, {"HostDiskFillsUp": "host"}, id="a full disk fills no further"),
    ],
)
def test_what_is_wrong_with_a_service_holds_back_what_follows_from_it(
    live: Alertmanager, cause: str, kept: dict[str, str], held_back: dict[str, str]
) -> None:
    service = {**PAGE, "target": f"service-of-{cause}"}
    kinds = {cause: "verdict", **kept, **held_back}

    live.tell(*({"alertname": name, "kind": kind, "severity": "info", **service} for name, kind in kinds.items()))

    assert live.inhibited(service) == held_back.keys()


def test_a_service_holds_back_nothing_of_another(live: Alertmanager) -> None:
    causes = ("ModelGreenButHung", "ModelDead", "ModelSaturated", "ModelCertificateExpiresNow")
    effects = ("ModelAnswerSlow", "ModelNotProbed", "ModelCertificateExpires")
    common = {"severity": "info", **PAGE}

    live.tell(*({"alertname": name, "kind": "verdict", "target": "one", **common} for name in causes))
    live.tell(*({"alertname": name, "kind": "service", "target": "another", **common} for name in effects))
    live.tell({"alertname": "ModelHung", "kind": "verdict", "target": "third", **common})

    assert live.inhibited({"target": "another"}) == set()
    assert live.inhibited({"target": "third"}) == set()


def test_a_failure_of_many_holds_back_each_of_them(live: Alertmanager) -> None:
    job = {"job": "many", "severity": "info"}
    many = {"alertname": "ModelMassFailure", "kind": "verdict", **job}
    each = [
        {"alertname": name, "kind": "verdict", "instance": f"gpu-{number}:10068", "target": "chat", **job}
        for number, name in enumerate(["ModelDead", "ModelHung", "ModelSharedCause"])
    ]

    live.tell(many, *each)

    assert live.inhibited({"job": "many"}) == {alert["alertname"] for alert in each}


def test_a_cause_that_an_exporter_sees_holds_back_what_only_it_tells(live: Alertmanager) -> None:
    job = {"job": "shared", "severity": "info", "kind": "verdict"}
    here, there = {**job, "instance": "gpu-1:10068"}, {**job, "instance": "gpu-2:10068"}

    live.tell({"alertname": "ModelSharedCause", **here})
    live.tell(*({"alertname": "ModelDead", "target": "chat", **where} for where in (here, there)))

    assert live.inhibited(here) == {"ModelDead"}
    assert live.inhibited(there) == set()


def test_a_gpu_that_is_gone_holds_back_all_but_its_xids(live: Alertmanager) -> None:
    gpu = {"uuid": "GPU-1", "kind": "gpu", "severity": "info"}

    live.tell(*({"alertname": name, **gpu} for name in ("GpuLost", "GpuMissing", "GpuXidCritical", "GpuHot")))

    assert live.inhibited({"uuid": "GPU-1"}) == {"GpuMissing", "GpuHot"}


def test_an_exporter_that_is_gone_holds_back_what_it_would_tell(live: Alertmanager) -> None:
    exporter = {"job": "gone", "instance": "gpu-1:10068", "kind": "exporter", "severity": "info"}
    names = ("ModelSidecarDown", "ModelSidecarSourceStale", "ModelSidecarReloadFailed", "ModelSidecarLate")

    live.tell(*({"alertname": name, **exporter} for name in names))

    assert live.inhibited({"job": "gone"}) == set(names[1:])


def test_that_none_is_there_holds_back_that_one_is_gone(live: Alertmanager) -> None:
    none, gone = (
        {"alertname": f"ModelSidecar{what}", "kind": "exporter", "severity": "info"} for what in ("Absent", "Down")
    )
    where = {"job": "none", "instance": "gpu-1:10068"}

    live.tell(none, {**gone, **where})
    held_back = live.inhibited(where)
    live.tell(none, over=True)  # It would hold back what other tests tell.

    assert held_back == {"ModelSidecarDown"}


def test_the_mail_of_what_is_held_back_does_not_come(live: Alertmanager, mailbox: Mailbox) -> None:
    target = {"target": "mailed"}

    live.tell({**GREEN_BUT_HUNG, **target}, {**GREEN_BUT_HUNG, **target, "alertname": "ModelHung"})
    live.inhibited(target)
    mailbox.until(about("mailed", "FIRING"), SOON)
    # A mail that is not held back comes as soon as the one before it.
    live.tell({**SLOW, "target": "afterwards"})
    mailbox.until(about("afterwards", "FIRING"), SOON)

    told = [mail.subject for mail in mailbox.mails if "mailed" in mail.subject]
    assert told == ["[FIRING critical] mailed ModelGreenButHung gpu-1:10068"]


def test_it_speaks_only_of_alerts_that_there_are() -> None:
    rules = (SHIPPED.parent.parent / "prometheus").glob("*alerts.yml")
    there = {
        rule["alert"]
        for file in rules
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    matchers = [
        re.fullmatch(r'alertname *(?:=|!=|=~|!~) *"(.*)"', matcher)
        for rule in yaml.safe_load(SHIPPED.read_text())["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
    ]
    told = {pattern for found in matchers if found for pattern in _alternatives(found[1])}

    assert told
    assert {pattern for pattern in told if not any(re.fullmatch(pattern, name) for name in there)} == set()


def _alternatives(pattern: str) -> list[str]:
    """What a pattern matches, one by one; those in brackets are written out."""
    return re.split(r"\|(?![^(]*\))", pattern)
