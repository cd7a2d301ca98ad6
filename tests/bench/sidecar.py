"""The program itself under measurement, beside a driver of fake GPUs and services that stream."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.bench.program import Program, running
from tests.nvml.driver import Driver
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
GPUS = 8
NOTHING: Mapping[str, object] = {}


def driver(folder: Path, *, gpus: int = GPUS, board: str = "h100", said: Mapping[str, object] = NOTHING) -> Driver:
    """A driver of so many GPUs, which says that and nothing else for good: to look for news costs a fake driver CPU."""
    folder.mkdir(parents=True)
    made = Driver(folder, board=board)
    made.script({"gpus": gpus, **said, "script.still": 1})
    return made


def environment(driver: Driver | None) -> dict[str, str]:
    """What a program needs to find that driver, which writes no log of its calls."""
    script = {} if driver is None else {"NVML_SCRIPT": driver.environment["NVML_SCRIPT"]}
    library = {} if driver is None else {"LD_LIBRARY_PATH": str(driver.library.parent)}
    return {"PYTHONPATH": str(ROOT), **library, **script}


def watching(
    urls: Sequence[str], *, polls: float = 5.0, health: float = 15.0, prompts: float = 30.0
) -> dict[str, object]:
    """Settings by which services are watched so often."""
    return {
        "targets": [{"name": f"service-{number}", "url": url, "model": "bench"} for number, url in enumerate(urls)],
        "health": {"every": health},
        "prompt": {"protocol": "openai-chat", "every": prompts, "max_tokens": 32},
        "server": {"enabled": False},
        "gpu": {"every": polls},
        "host": {"every": polls},
        "log": {"level": "error"},
    }


@contextmanager
def watched(
    folder: Path, settings: Mapping[str, object], *, driver: Driver | None = None, says: bytes = b""
) -> Iterator[tuple[Program, float]]:
    """The program with these settings, once its page says that, and how long that took."""
    port = free_port()
    file = folder / f"{port}.yml"
    file.write_text(yaml.safe_dump(dict(settings)))
    command = [sys.executable, "-m", "exporter", f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}"]
    with running("model-sidecar", command, port, environment=environment(driver), says=says) as begun:
        yield begun
