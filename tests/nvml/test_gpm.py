"""Two samples of what a chip counts: kept apart, allocated once, freed, and never compared across what came between."""

import time
from pathlib import Path

import pytest

from exporter.nvml import Lost
from exporter.nvml.gpm import Metric, Part, Samples
from exporter.reading import Unreadable
from tests.nvml.driver import require_compiler
from tests.nvml.opened import first, opened, times

require_compiler()

WHOLE = Part("GPU-1")
A_WHILE = 0.11


def rest() -> None:
    """Until the chip has made up its counts anew."""
    time.sleep(A_WHILE)


def test_two_samples_tell_what_was_done_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    driver.script({"gpu.0.gpm.2": 80, "gpu.0.gpm.60": 512})
    samples = Samples(nvml)

    none = samples.since(first(nvml), WHOLE)
    rest()
    begun = time.perf_counter()
    stretch = samples.since(first(nvml), WHOLE)

    assert none is None
    assert stretch is not None
    assert A_WHILE <= stretch.seconds <= A_WHILE + time.perf_counter() - begun + 5
    assert stretch.told.keys() == set(Metric)
    assert stretch.told[Metric.SM] == pytest.approx(80, rel=1e-3)
    assert stretch.told[Metric.NVLINK_RECEIVED] == pytest.approx(512, rel=1e-3)
    assert stretch.told[Metric.TENSOR] == 0


def test_each_look_tells_of_the_time_since_the_look_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    samples = Samples(nvml)
    samples.since(first(nvml), WHOLE)
    told = []
    for activity in (10, 90, 20):
        driver.script({"gpu.0.gpm.2": activity})
        rest()
        stretch = samples.since(first(nvml), WHOLE)
        told.append(stretch.told[Metric.SM] if stretch else None)

    low, high, middling = told
    assert low is not None
    assert high is not None
    assert middling is not None
    assert 5 < low <= 10.01
    assert 50 < high <= 90.01
    assert 19.9 < middling < 55


def test_asked_again_within_a_moment_the_chip_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    monkeypatch.setattr("exporter.nvml.gpm.APART", 0.05)
    samples = Samples(nvml)
    samples.since(first(nvml), WHOLE)
    rest()
    stretch = samples.since(first(nvml), WHOLE)
    monkeypatch.setattr("exporter.nvml.gpm.APART", 600.0)

    again = samples.since(first(nvml), WHOLE)

    assert again is stretch is not None
    assert times(driver, "nvmlGpmSampleGet") == 2


def test_samples_that_lie_too_far_apart_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, nvml = opened(tmp_path, monkeypatch)
    samples = Samples(nvml)
    samples.since(first(nvml), WHOLE)
    rest()
    monkeypatch.setattr("exporter.nvml.gpm.LONGEST", A_WHILE / 2)
    late = samples.since(first(nvml), WHOLE)
    monkeypatch.setattr("exporter.nvml.gpm.LONGEST", 600.0)
    rest()

    assert late is None
    assert samples.since(first(nvml), WHOLE) is not None


def test_a_metric_that_is_refused_or_unknown_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    driver.script({"gpu.0.gpm.2": "!4", "gpu.0.gpm.5": "nan", "gpu.0.gpm.60": "N/A", "gpu.0.gpm.1": 33})
    samples = Samples(nvml)
    samples.since(first(nvml), WHOLE)
    rest()

    stretch = samples.since(first(nvml), WHOLE)

    assert stretch is not None
    assert stretch.told.keys() == set(Metric) - {Metric.SM, Metric.TENSOR, Metric.NVLINK_RECEIVED}
    assert stretch.told[Metric.GRAPHICS] == pytest.approx(33, rel=1e-3)


def test_a_gpu_is_asked_once_whether_it_has_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board=("h100", "l40s"))
    driver.script({"result.nvmlGpmQueryDeviceSupport": 999})
    samples = Samples(nvml)
    unanswered = samples.supported(first(nvml), "a")
    driver.script({"result.nvmlGpmQueryDeviceSupport": None})
    driver.forget_calls()

    answers = [(samples.supported(first(nvml), "a"), samples.supported(first(nvml, 1), "b")) for _ in range(3)]

    assert not unanswered
    assert answers == [(True, False)] * 3
    assert times(driver, "nvmlGpmQueryDeviceSupport") == 2


def test_a_driver_that_knows_no_gpm_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = ["QueryDeviceSupport", "SampleAlloc", "SampleGet", "MetricsGet", "SampleFree"]
    _, nvml = opened(tmp_path, monkeypatch, lacks=[f"nvmlGpm{each}" for each in lacks])
    samples = Samples(nvml)

    assert not samples.supported(first(nvml), WHOLE.uuid)
    assert samples.since(first(nvml), WHOLE) is None


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("nvmlGpmSampleAlloc", 20),
        *((function, code) for function in ("nvmlGpmSampleGet", "nvmlGpmMetricsGet") for code in (2, 3, 4, 999)),
    ],
)
def test_a_refusal_tells_nothing_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    driver.script({f"result.{function}": code})
    monkeypatch.setattr("exporter.nvml.gpm.APART", 0.0)
    samples = Samples(nvml)
    refused = [samples.since(first(nvml), WHOLE) for _ in range(3)]
    driver.script({f"result.{function}": None})

    samples.since(first(nvml), WHOLE)

    assert refused == [None] * 3
    assert samples.since(first(nvml), WHOLE) is not None


def test_samples_are_allocated_once_and_freed_when_the_gpu_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    monkeypatch.setattr("exporter.nvml.gpm.APART", 0.0)
    samples = Samples(nvml)
    for _ in range(20):
        samples.since(first(nvml), WHOLE)
    kept = times(driver, "nvmlGpmSampleAlloc"), times(driver, "nvmlGpmSampleFree")

    samples.forget(WHOLE.uuid)
    samples.forget(WHOLE.uuid)

    assert kept == (2, 0)
    assert times(driver, "nvmlGpmSampleFree") == 2
    assert samples.since(first(nvml), WHOLE) is None


def test_a_gpu_that_is_lost_amid_a_sample_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    monkeypatch.setattr("exporter.nvml.gpm.APART", 0.0)
    samples = Samples(nvml)
    gpu = first(nvml)
    samples.since(gpu, WHOLE)
    driver.script({"gpu.0.lost": 1})
    with pytest.raises(Lost):
        samples.since(gpu, WHOLE)
    driver.script({"gpu.0.lost": 0})

    back = samples.since(gpu, WHOLE), samples.since(gpu, WHOLE)

    assert back[0] is None
    assert back[1] is not None


def test_samples_of_a_driver_that_was_loaded_anew_are_freed_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch)
    monkeypatch.setattr("exporter.nvml.gpm.APART", 0.0)
    samples = Samples(nvml)
    gpu = first(nvml)
    samples.since(gpu, WHOLE)
    driver.script({"driver.generation": 2})
    with pytest.raises(Unreadable):
        samples.since(gpu, WHOLE)
    samples.forget(WHOLE.uuid)
    nvml.open()
    driver.forget_calls()

    stretches = samples.since(first(nvml), WHOLE), samples.since(first(nvml), WHOLE)

    assert stretches[0] is None
    assert stretches[1] is not None
    assert times(driver, "nvmlGpmSampleFree") == 2
    assert times(driver, "nvmlGpmSampleAlloc") == 2


def test_an_instance_is_told_apart_from_the_others_and_from_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    driver.script({"gpu.0.mig.0.gpm.2": 10, "gpu.0.mig.1.gpm.2": 40, "gpu.0.gpm.2": 25})
    samples = Samples(nvml)
    parts = (Part("GPU-1", 1, "MIG-a"), Part("GPU-1", 5, "MIG-b"), WHOLE)
    for part in parts:
        samples.since(first(nvml), part)
    rest()

    stretches = [samples.since(first(nvml), part) for part in parts]

    assert [each and each.told[Metric.SM] for each in stretches] == [
        pytest.approx(each, rel=1e-3) for each in (10, 40, 25)
    ]


def test_instances_that_have_gone_are_freed_and_the_whole_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, nvml = opened(tmp_path, monkeypatch, board="h100-mig")
    samples = Samples(nvml)
    here, gone = Part("GPU-1", 1, "MIG-a"), Part("GPU-1", 5, "MIG-b")
    for part in (here, gone, WHOLE, Part("GPU-2")):
        samples.since(first(nvml), part)

    samples.keep("GPU-1", {here})
    freed = times(driver, "nvmlGpmSampleFree")
    rest()

    assert freed == 2
    assert samples.since(first(nvml), here)
    assert samples.since(first(nvml), WHOLE)
    assert samples.since(first(nvml), gone) is None
