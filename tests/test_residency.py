"""Whether others have used a model is told by its end alone, and never in our own favour."""

from collections.abc import Sequence

import pytest

from exporter.residency import Residency


@pytest.mark.parametrize(
    ("ends", "spared"),
    [
        ([1.0], [False]),
        ([1.0, 2.0, 2.0, 2.0], [False, True, True, True]),
        ([1.0, 2.0, 3.0, 4.0], [False, True, False, True]),
        ([1.0, 2.0, 1.5], [False, True, False]),
        ([None, None, 1.0, 1.0], [False, False, True, True]),
        ([1.0, 2.0, None, 2.0], [False, True, False, True]),
    ],
    ids=["not asked yet", "idle", "used", "used for a shorter time", "kept for ever before", "kept for ever meanwhile"],
)
def test_a_model_is_spared_until_its_end_is_moved_by_others(
    ends: Sequence[float | None], spared: Sequence[bool]
) -> None:
    residency = Residency()

    assert [residency.unused(end) for end in ends] == spared


def test_what_fails_is_not_spared() -> None:
    residency = Residency()
    residency.unused(1.0)

    assert [residency.unused(2.0, failing=True), residency.unused(3.0), residency.unused(3.0)] == [False, True, True]
