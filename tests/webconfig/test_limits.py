from itertools import chain, repeat

from exporter.webconfig.limits import Bucket, Rate


def test_as_many_as_the_burst_are_let_in_at_once() -> None:
    bucket = Bucket(Rate(interval=1.0, burst=3), now=lambda: 0.0)

    assert [bucket.takes() for _ in range(5)] == [True, True, True, False, False]


def test_one_more_is_let_in_with_every_interval() -> None:
    times = iter([0.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    bucket = Bucket(Rate(interval=2.0, burst=1), now=lambda: next(times))

    assert [bucket.takes() for _ in range(5)] == [True, False, True, False, True]


def test_a_long_silence_is_worth_no_more_than_the_burst() -> None:
    times = chain([0.0], repeat(10_000.0))
    bucket = Bucket(Rate(interval=1.0, burst=2), now=lambda: next(times))

    assert [bucket.takes() for _ in range(3)] == [True, True, False]
