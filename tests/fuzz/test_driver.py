"""Whatever a driver says of its GPUs, there is a page of metrics without a figure that cannot be one."""

import math
from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition import Exposition
from exporter.services import CATALOG
from exporter.watch import Collection
from tests.nvml.boards import words
from tests.nvml.driver import DRIVER, Driver, Readings, looking, of, require_compiler

require_compiler()

BOARDS = ["h100", "h100-mig", "t4", "gb10"]
KNOWN = {board: {**DRIVER, **words(board), **words(board, load=True)} for board in BOARDS}
FUNCTIONS = ["nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetFieldValues", "nvmlDeviceGetMemoryInfo_v2"]
FUNCTIONS += ["nvmlDeviceGetHandleByIndex_v2", "nvmlSystemGetDriverVersion", "nvmlDeviceGetUtilizationRates"]
GARBAGE = st.sampled_from(
    [
        *("N/A", "0", "-1", "1", "0xFFFFFFFF", "0xFFFFFFFFFFFFFFFF", "-5", "nan", "inf", "-inf", "1e308", "9" * 60),
        *("!1", "!2", "!3", "!4", "!6", "!15", "!16", "!999", "!-1", "", "x", "é" * 40, "A" * 5000, 'a"b\\c', "\udcff"),
        *("f64:nan", "i32:-5", "0:79", "11:1048576,12:N/A,13:5:1:0", "none", "600000+69850/s", "-1+-1/s"),
    ]
) | st.integers(-(2**63), 2**64 - 1).map(str)


@st.composite
def scripts(draw: st.DrawFn, board: str) -> Mapping[str, object]:
    """A few words of a board's, or what its calls return, replaced by anything."""
    said = draw(st.dictionaries(st.sampled_from(sorted(KNOWN[board])), GARBAGE, max_size=6))
    failing = draw(st.dictionaries(st.sampled_from(FUNCTIONS), st.integers(0, 1000), max_size=1))
    return {**{word: value for word, value in said.items() if _harmless(word)}, **_named("result", failing)}


def _named(first: str, by_name: Mapping[str, object]) -> Mapping[str, object]:
    return {f"{first}.{name}": value for name, value in by_name.items()}


def _harmless(word: str) -> bool:
    """Whether it is the driver's word, rather than one that makes the stand-in itself do more than a driver can."""
    return word != "gpus" and not word.startswith(("hang", "driver.loaded", "driver.generation"))


@pytest.fixture(scope="module", params=BOARDS)
def board(request: pytest.FixtureRequest) -> str:
    """The name of a board."""
    return str(request.param)


Looked = Callable[[Mapping[str, object]], Readings]


@pytest.fixture(scope="module")
def looked(board: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """What one long-lived process says of a driver with these words; it must live through all of them."""
    driver = Driver(tmp_path_factory.mktemp(board), board=board)
    sound = {**DRIVER, **words(board)}
    with looking(driver.environment, "--timed") as look:

        def looked(said: Mapping[str, object]) -> Readings:
            driver.script(
                {**dict.fromkeys(KNOWN[board]), **_named("result", dict.fromkeys(FUNCTIONS)), **sound, **said}
            )
            driver.forget_calls()
            return look()

        yield looked


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_whatever_a_driver_says_is_a_page_without_impossible_figures(
    board: str, looked: Looked, data: st.DataObject
) -> None:
    said = data.draw(scripts(board))

    readings = looked(said)

    body, _ = Exposition(CATALOG, lambda: readings).page("text/plain")
    samples = [sample for family in text_string_to_metric_families(body.decode()) for sample in family.samples]
    assert of(Collection, readings)
    assert not [sample for sample in samples if not math.isfinite(sample.value)]
    assert not [sample for sample in samples if sample.name.endswith("_ratio") and not 0 <= sample.value <= 1]


def test_a_driver_that_is_sound_again_is_read_again(board: str, looked: Looked) -> None:
    looked({f"gpu.*.{word}": "!999" for word in ("uuid", "name", "power_mw")})

    for _ in range(3):
        again = looked({})

    [collection] = of(Collection, again)
    assert collection.up
