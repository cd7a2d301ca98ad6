"""How figures are chosen and added up, and how counters go on through restarts."""

import pytest

from exporter.normal import SERIES_LIMIT
from exporter.sources.server import Server
from tests.services.scripted import Stage, in_turn, reply
from tests.sources.looks import UP, at_once, looked, over_time, page, told


def test_of_a_line_told_twice_the_last_counts() -> None:
    assert told(at_once(b"vllm:num_requests_running 2\nvllm:num_requests_running 3\n")) == {**UP, "requests_running": 3}


@pytest.mark.parametrize("value", ["1.5", "45"])
def test_a_ratio_beyond_one_is_no_ratio(value: str) -> None:
    assert told(at_once(f"vllm:kv_cache_usage_perc {value}\n".encode())) == UP


def test_counters_go_on_through_a_restart_of_the_engine(stage: Stage) -> None:
    seen = over_time(stage, "vllm", *(f"vllm:generation_tokens_total {n}\n" for n in (100, 150, 20, 30)))

    assert [each["generation_tokens_total"] for each in seen] == [100, 150, 170, 180]


def test_the_restart_of_one_replica_is_no_restart_of_the_sum(stage: Stage) -> None:
    def both(one: int, other: int) -> str:
        return "".join(f'vllm:generation_tokens_total{{engine="{n}"}} {v}\n' for n, v in enumerate((one, other)))

    seen = over_time(stage, "vllm", both(100, 100), both(5, 120), both(10, 130))

    assert [each["generation_tokens_total"] for each in seen] == [200, 225, 240]


def test_a_replica_that_was_away_is_not_counted_twice(stage: Stage) -> None:
    one, other = 'vllm:generation_tokens_total{engine="0"} 100\n', 'vllm:generation_tokens_total{engine="1"} 50\n'

    seen = over_time(stage, "vllm", one + other, one, one + other)

    assert [each["generation_tokens_total"] for each in seen] == [150, 150, 150]


def test_counters_go_on_while_the_page_could_not_be_read(stage: Stage) -> None:
    answers = [page("vllm:generation_tokens_total 100\n"), reply("", 503), page("vllm:generation_tokens_total 7\n")]
    service = stage.serve({"GET /metrics": in_turn(*answers)})

    assert [each.get("generation_tokens_total") for each in looked(service, "vllm", times=3)] == [100, None, 107]


def test_workers_that_answer_in_turn_with_counters_of_their_own_are_added_up(stage: Stage) -> None:
    def worker(started: int, count: int) -> str:
        return f'process_start_time_seconds {started}\nhttp_requests_total{{handler="/x",status="2xx"}} {count}\n'

    seen = over_time(stage, "flask", worker(1, 100), worker(2, 90), worker(1, 101), worker(2, 91))

    assert [each['requests_total{handler="/x",status="2xx"}'] for each in seen] == [100, 190, 191, 192]


def test_a_histogram_goes_on_through_a_restart_of_the_engine(stage: Stage) -> None:
    def spread(*counts: int) -> str:
        buckets = zip(("0.5", "1", "+Inf"), counts, strict=True)
        lines = [f'vllm:request_queue_time_seconds_bucket{{le="{le}"}} {count}' for le, count in buckets]
        return "\n".join([*lines, f"vllm:request_queue_time_seconds_sum {counts[-1]}", ""])

    seen = over_time(stage, "vllm", spread(1, 4, 9), spread(2, 5, 10), spread(1, 1, 1), publish="all")

    assert [each['queue_seconds_bucket{le="0.5"}'] for each in seen] == [1, 2, 3]
    assert [each["queue_seconds_count"] for each in seen] == [9, 10, 11]
    assert [each["queue_seconds_sum"] for each in seen] == [9, 10, 11]


def test_histograms_over_different_edges_are_not_added_up() -> None:
    def spread(engine: int, edge: float) -> str:
        name, rank = "vllm:request_queue_time_seconds", f'engine="{engine}"'
        return f'{name}_bucket{{{rank},le="{edge}"}} 1\n{name}_bucket{{{rank},le="+Inf"}} 2\n{name}_sum{{{rank}}} 3\n'

    assert "queue_seconds_count" in told(at_once((spread(0, 1) + spread(1, 1)).encode()))
    assert told(at_once((spread(0, 1) + spread(1, 2)).encode())) == UP


@pytest.mark.parametrize("missing", ["_sum", "+Inf", "0.5"])
def test_a_histogram_that_is_not_whole_is_left_out(missing: str) -> None:
    lines = ['_bucket{le="0.5"} 1', '_bucket{le="+Inf"} 2', "_sum 3", "_count 2"]
    body = "".join(f"vllm:request_queue_time_seconds{line}\n" for line in lines if missing not in line)

    assert told(at_once(body.encode())) == UP


def test_routes_without_end_are_cut_off_and_those_told_first_stay(stage: Stage) -> None:
    def routes(first: int, last: int) -> str:
        return "".join(f'starlette_requests_total{{path="/{n}",method="GET"}} 1\n' for n in range(first, last))

    first, second = over_time(stage, "fastapi", routes(0, 90), routes(80, 400) + "starlette_requests_in_progress 3\n")

    assert len(first) == 90 + len(UP)
    assert len(second) == SERIES_LIMIT + len(UP)
    assert second['requests_total{handler="/89",method="GET"}'] == 1
    assert second["requests_running"] == 3


def test_a_long_name_is_cut() -> None:
    _, seen, *_ = at_once(f'http_requests_total{{handler="/{"x" * 500}"}} 1\n'.encode(), engine="fastapi")

    assert isinstance(seen, Server)
    assert len(seen.handler) == 128
