"""What was seen a moment ago, and is not looked at again."""

from exporter.recent import Recent


def test_those_who_ask_within_a_moment_share_one_look() -> None:
    looks = iter(range(10))
    recent = Recent(lambda: next(looks))

    shared = [recent.within(600) for _ in range(3)]
    fresh = recent.within(0)

    assert shared == [0, 0, 0]
    assert fresh == 1
