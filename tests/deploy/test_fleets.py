"""What is said of fleets: how many series there are, who is in which shard, and what is known above the shards."""

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.daemon import PATIENCE, ROOT, Page, started
from tests.deploy.scraping import MISSING, hurried, programs, ready, scraping
from tests.nvml.driver import COMPILER, Driver
from tests.ports import free_port
from tests.services.openai import CHAT, GOOD, models
from tests.services.pages import VLLM
from tests.services.scripted import Stage, reply

FLEET = ROOT / "deploy" / "fleet"
RULES = ROOT / "deploy" / "prometheus"
PROGRAM = next(iter(programs().values()), "")
PROMTOOL = shutil.which("promtool")
GPUS = 8
EVERY = 15
BY_PROMETHEUS = 5
"""Series that Prometheus adds to each exporter: up, and what it says of the scrape."""

needs_prometheus = pytest.mark.skipif(not PROGRAM, reason=MISSING)
VMAGENT = shutil.which("vmagent") or shutil.which("vmagent-prod")
needs_vmagent = pytest.mark.skipif(VMAGENT is None, reason="there is no vmagent, which comes with VictoriaMetrics")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None,
    reason="there is no promtool, which comes with Prometheus, to say which exporter is in which shard",
)
needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="there is no C compiler, with which the stand-in for the NVIDIA driver's library is built"
)


def table(name: str) -> list[list[str]]:
    """The rows of a table of the README, without its head."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", (FLEET / "README.md").read_text(), re.DOTALL)
    assert found is not None, f"the README has no {name}"
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]
    return rows[2:]


def number(cell: str) -> int:
    """The number that a cell is."""
    return int(cell.replace(",", ""))


def part(series: str) -> str:
    """What a series is about."""
    if 'target="' in series:
        return "a service"
    return "a GPU" if 'uuid="' in series else "host and exporter"


def counted(page: Page) -> Counter[str]:
    """How many series a page has, by what they are about."""
    return Counter(part(line) for line in page.text.splitlines() if not line.startswith("#"))


def of_a_node(folder: Path) -> Counter[str]:
    """The series of an exporter beside a vLLM that has eight H100s."""
    driver = Driver(folder, board=["h100"] * GPUS)
    often = {"every": "500ms"}
    with Stage() as stage:
        asked = {"GET /health": reply(""), "GET /v1/models": models("qwen"), f"POST {CHAT}": GOOD}
        service = stage.serve({**asked, "GET /metrics": reply(VLLM)})
        config = {
            "targets": [{"name": "chat", "url": service.url, "engine": "vllm", "gpus": [*range(GPUS)]}],
            **dict.fromkeys(("prompt", "health", "server"), often),
            "gpu": {"every": "500ms", "medium": "500ms", "slow": "500ms"},
        }
        with started(folder, config, environment=driver.environment) as daemon:
            daemon.until(lambda page: page.succeeded("chat") >= 3 and bool(page.samples("gpu_activity_ratio")))
            return counted(daemon.until(lambda page: counted(page)["a GPU"] >= GPUS * documented()["a GPU"]))


def documented() -> Mapping[str, int]:
    """How many series each part has, as it is said."""
    return {what: number(series) for what, series, *_ in table("series")}


@needs_compiler
def test_a_node_tells_as_many_series_as_is_said(tmp_path: Path) -> None:
    said = documented()

    told = of_a_node(tmp_path)

    assert told["a GPU"] == GPUS * said["a GPU"]
    assert told["a service"] == said["a service"]
    # What it has of disks, networks and sensors differs from one machine to the next.
    assert told["host and exporter"] == pytest.approx(said["host and exporter"], abs=60)


def test_what_fleets_add_up_to_is_computed_right() -> None:
    said = documented()
    node = said["a service"] + GPUS * said["a GPU"] + said["host and exporter"] + BY_PROMETHEUS

    rows = [[number(cell) for cell in row] for row in table("fleets")]

    assert [exporters for exporters, *_ in rows] == [10, 1_000, 100_000]
    assert rows == [[each, each * node, round(each * node / EVERY)] for each, *_ in rows]


@needs_promtool
def test_each_exporter_is_in_one_of_the_shards(tmp_path: Path) -> None:
    addresses = {f"gpu-{number}:10068" for number in range(40)}
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "all.yml").write_text(yaml.safe_dump([{"targets": sorted(addresses)}]))
    shards = [sharded(tmp_path, number) for number in range(4)]

    kept = [address for shard in shards for address in shard]

    assert sorted(kept) == sorted(addresses)
    assert all(shards)


def sharded(folder: Path, number: int) -> list[str]:
    """The addresses that one shard scrapes."""
    file = folder / f"shard-{number}.yml"
    file.write_text((FLEET / "shard.yml").read_text().replace("SHARD", str(number)))
    command = [str(PROMTOOL), "check", "service-discovery", "--timeout=1s", str(file), "model-sidecar"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    return [each["labels"]["__address__"] for each in found if each["labels"]]


@needs_promtool
@pytest.mark.parametrize("name", ["shard.yml", "federation.yml"])
def test_promtool_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(RULES, tmp_path / "prometheus")
    file = folder / name
    file.write_text((FLEET / name).read_text())

    judged = subprocess.run([str(PROMTOOL), "check", "config", file], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stdout + judged.stderr


@needs_prometheus
def test_above_the_shards_the_sums_of_each_are_known_and_nothing_else(tmp_path: Path) -> None:
    (above,) = yaml.safe_load((FLEET / "federation.yml").read_text())["scrape_configs"]
    shard = yaml.safe_load((FLEET / "shard.yml").read_text().replace("SHARD", "2"))
    wide = {
        "scrape_interval": "1s",
        "evaluation_interval": "1s",
        "external_labels": shard["global"]["external_labels"],
    }
    quick = [hurried(RULES / name, tmp_path, every="1s") for name in ("recording.yml", "fleet.yml")]

    with (
        started(tmp_path, None, "demo") as demo,
        scraping(PROGRAM, tmp_path / "shard", demo.url, rules=quick, **{"global": wide}) as below,
        scraping(PROGRAM, tmp_path / "above", scrape_configs=[at(above, below.url)]) as top,
    ):
        states = top.until('sum by (shard) (fleet:model_state:sum{job="model-sidecar"})')
        names = top.names()

    assert [(labels, value) for labels, value in states] == [({"shard": "2"}, 1)]
    assert names
    assert all(name.startswith("fleet:") for name in names)


def at(job: Mapping[str, object], url: str) -> Mapping[str, object]:
    """A job that scrapes somebody else."""
    return {**job, "static_configs": [{"targets": [url.removeprefix("http://")]}]}


@needs_vmagent
def test_two_vmagents_share_the_exporters_between_them(tmp_path: Path) -> None:
    nodes = [f"gpu-{number}" for number in range(8)]
    shutil.copy(FLEET / "vmagent.yml", tmp_path)
    (tmp_path / "targets").mkdir()

    with started(tmp_path, None, "demo") as demo, ExitStack() as stack:
        here = demo.url.removeprefix("http://")
        listed = [{"targets": [here], "labels": {"instance": node}} for node in nodes]
        (tmp_path / "targets" / "all.yml").write_text(yaml.safe_dump(listed))
        agents = [stack.enter_context(vmagent(tmp_path, number, of=2)) for number in range(2)]
        shares = [scraped(agent) for agent in agents]

    assert sorted(node for share in shares for node in share) == nodes
    assert all(shares)


@contextmanager
def vmagent(folder: Path, number: int, *, of: int) -> Iterator[str]:
    """Where one of several vmagents answers, which writes to nobody."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(VMAGENT),
        f"-promscrape.config={folder / 'vmagent.yml'}",
        f"-promscrape.cluster.membersCount={of}",
        f"-promscrape.cluster.memberNum={number}",
        "-remoteWrite.url=http://127.0.0.1:9/",
        f"-remoteWrite.tmpDataPath={folder / str(number)}",
        f"-httpListenAddr={address}",
    ]
    log = folder / f"vmagent-{number}.log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, stdout=written, stderr=written)
    try:
        ready(process, f"http://{address}/health", log)
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def scraped(agent: str) -> list[str]:
    """Which nodes a vmagent takes for its own, once it has scraped all of them."""
    end = time.monotonic() + PATIENCE
    while True:
        told = httpx.get(f"{agent}/api/v1/targets", timeout=PATIENCE, trust_env=False).json()
        own = {each["labels"]["instance"]: each["health"] for each in told["data"]["activeTargets"]}
        if own and set(own.values()) == {"up"}:
            return sorted(own)
        assert time.monotonic() < end, own
        time.sleep(0.5)
