"""The unit for systemd, really run by a systemd that is the first process of a machine of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import Page
from tests.deploy import machine
from tests.services.llama import PROGRAM
from tests.services.tiny_gguf import write
from tests.webconfig.certificates import papers

if WHY_NOT := machine.unable():
    pytest.skip(f"the unit is not run for real: {WHY_NOT}", allow_module_level=True)

HERE = Path(__file__).parent
README = machine.ROOT / "deploy" / "systemd" / "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Afterwards:
    """What was seen in the machine."""

    out: Path
    console: str

    def text(self, name: str) -> str:
        """What was written down under this name."""
        file = self.out / name
        assert file.exists(), f"it did not come to {name}:\n{self.console[-4000:]}"
        return file.read_text()

    def page(self, name: str) -> Page:
        """A page of metrics."""
        return Page(self.text(name))

    def shown(self, name: str) -> Mapping[str, str]:
        """The unit's properties."""
        return dict(line.split("=", 1) for line in self.text(name).splitlines())


SETTINGS = """\
targets:
- {name: chat, url: 'http://127.0.0.1:8000', process: {unit: chat}}
- name: images
  url: http://127.0.0.1:8001
  prompt: {protocol: openai-images, every: 2s}
  process: {cmdline: '^/usr/bin/python3 /images\\.py$'}
host: {every: 500ms}
web: {config_file: /etc/model-sidecar/web.yml}
"""
FILES = ("install.sh", "more.sh", "server.pem", "sidecar.yml", "web.yml")
WITHOUT_A_MODEL = """\
import http.server, time
class Chat(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Chat).serve_forever()
"""


@pytest.fixture(scope="module")
def afterwards(tmp_path_factory: pytest.TempPathFactory) -> Afterwards:
    """A machine that was booted, in which the unit was installed, frozen, killed, opened further and stopped."""
    folder = tmp_path_factory.mktemp("machine")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    out = folder / "out"
    out.mkdir()
    issued = papers(folder)
    (folder / "server.pem").chmod(0o644)
    (folder / "sidecar.yml").write_text(SETTINGS)
    (folder / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.pem}\n")
    first, second, third = typed("three commands")
    (folder / "install.sh").write_text(third)
    (folder / "more.sh").write_text("\n".join(typed("For the rest")))
    etc, systemd = "/etc/systemd/system", HERE / "systemd"
    box = machine.Machine(
        read={
            str(machine.PLACE): machine.installed(folder / "program", first, second),
            "/clone": machine.ROOT,
            "/ca.pem": issued.ca,
            **{f"/{name}": systemd / name for name in ("check.sh", "images.py")},
            **{f"/{name}": folder / name for name in FILES},
            **{f"{etc}/{name}": systemd / name for name in ("chat.service", "check.service", "check.target")},
            **chat(folder),
        },
        written={"/out": out},
    )
    return Afterwards(
        out=out, console=box.boot(folder, "systemd.unit=check.target", "systemd.mask=systemd-logind.service")
    )


def typed(before: str) -> Sequence[str]:
    """The commands that README tells to type, in the block that follows some words, as root types them."""
    _, _, rest = README.read_text().partition(before)
    block = rest.split("```")[1].removeprefix("sh\n")
    return [line.replace("sudo ", "") for line in block.strip().splitlines()]


def chat(folder: Path) -> Mapping[str, Path]:
    """A model server that a unit can run: a real one where there is one."""
    script, model = folder / "chat.sh", folder / "chat.gguf"
    if PROGRAM is None:
        script.write_text(f"exec /usr/bin/python3 -c '{WITHOUT_A_MODEL}'")
        return {"/chat.sh": script}
    where = "--model /chat.gguf --alias tiny --metrics --offline --host 127.0.0.1 --port 8000"
    script.write_text(f"exec {PROGRAM} {where}")
    program = Path(PROGRAM).parent
    return {"/chat.sh": script, "/chat.gguf": write(model), str(program): program}


def test_systemd_starts_it_and_knows_how_things_stand(afterwards: Afterwards) -> None:
    seen = afterwards.shown("running")

    assert afterwards.text("first").strip() == "systemd"
    assert afterwards.text("installed").strip() == "0"
    assert afterwards.text("started").strip() == "0"
    assert (seen["ActiveState"], seen["SubState"], seen["NRestarts"]) == ("active", "running", "0")
    assert re.fullmatch(r"watches 2 services: .*", seen["StatusText"])


def test_its_page_is_served_as_soon_as_it_counts_as_started(afterwards: Afterwards) -> None:
    assert afterwards.page("at-once").samples("model_sidecar_build_info")


def test_it_runs_without_any_privilege_and_can_write_nowhere(afterwards: Afterwards) -> None:
    status = dict(line.split(":", 1) for line in afterwards.text("status").splitlines())

    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    assert status["Uid"].split()[0] != "0"
    assert afterwards.text("refused").count("Read-only file system") == 4


def test_without_any_privilege_it_tells_of_a_unit_s_processes(afterwards: Afterwards) -> None:
    page = afterwards.page("unprivileged")

    assert page.by("result", "model_process_lookup", target="chat") == {"found": 1}
    assert page.value("model_process_up", target="chat") == 1
    assert page.value("model_process_restarts_total", target="chat") == 0
    for name in ("model_process_resident_memory_bytes", "model_process_threads", "model_processes"):
        assert page.value(name, target="chat"), name
    assert page.samples("model_process_cpu_seconds_total", target="chat")
    for name in PRIVILEGED:
        assert not page.samples(name), name


def test_a_unit_that_is_started_again_has_restarted_once(afterwards: Afterwards) -> None:
    assert afterwards.page("restarted").value("model_process_restarts_total", target="chat") == 1


def test_a_process_is_found_by_its_command_line_and_an_image_is_judged_in_a_process_of_its_own(
    afterwards: Afterwards,
) -> None:
    page = afterwards.page("unprivileged")

    assert page.by("result", "model_process_lookup", target="images") == {"found": 1}
    assert page.value("model_probe_up", target="images") == 1, afterwards.text("journal")[-4000:]


def test_its_settings_are_read_anew_when_systemd_is_asked_to_reload_it(afterwards: Afterwards) -> None:
    assert afterwards.text("reloaded").strip() == "0"
    assert "the settings were read anew" in afterwards.text("journal")


def test_once_frozen_it_is_ended_by_the_watchdog_says_where_it_hung_and_is_started_again(
    afterwards: Afterwards,
) -> None:
    before, after = afterwards.shown("running"), afterwards.shown("after-the-watchdog")
    journal = afterwards.text("journal")

    assert (after["SubState"], after["NRestarts"]) == ("running", "1")
    assert after["MainPID"] != before["MainPID"]
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal


def test_once_killed_it_is_started_again(afterwards: Afterwards) -> None:
    after = afterwards.shown("after-a-kill")

    assert (after["SubState"], after["NRestarts"]) == ("running", "2")


PRIVILEGED = (
    "model_process_open_fds",
    "model_process_max_fds",
    "model_process_unique_memory_bytes",
    "model_process_read_bytes_total",
    "model_process_written_bytes_total",
)


def test_with_two_privileges_it_finds_a_process_by_its_port_and_tells_all_of_it(afterwards: Afterwards) -> None:
    page = afterwards.page("privileged")

    assert int(afterwards.text("capabilities").split()[1], 16) == 1 << 19 | 1 << 2
    assert page.by("result", "model_process_lookup", target="chat") == {"found": 1}
    for name in PRIVILEGED:
        assert page.samples(name, target="chat"), name


def test_it_is_stopped_in_good_order(afterwards: Afterwards) -> None:
    last = afterwards.shown("at-last")

    assert afterwards.text("stopped").strip() == "0"
    assert (last["ActiveState"], last["Result"], last["ExecMainStatus"]) == ("inactive", "success", "0")
    assert "State 'stop-sigterm' timed out" not in afterwards.text("journal")
